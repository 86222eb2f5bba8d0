"""What tests of `paged_attention` share: its folders, its cases, and a worker in this process.

`failures` returns what a submission's text fails; its performance is not measured.
"""

import linecache
from functools import cache
from pathlib import Path
from typing import Any

from grader.assignment.declare import fresh_kernels, import_triton_interpreter, load_harness
from grader.assignment.steps import CaseSteps
from grader.assignment.table import load_assignment
from grader.author import Draw, SequenceMaker, load_cases
from grader.correctness.drive import drive
from grader.correctness.instances import drive_sequence
from grader.evidence.observations import CaseMeasurement
from grader.judge.judgement import Cause
from grader.student.local_worker import LocalWorker
from grader.student.verdict import judge_case

ROOT = Path(__file__).resolve().parents[2]
ASSIGNMENT = ROOT / "assignments" / "paged_attention"
REFERENCE = ROOT / "reference" / "paged_attention"

TABLE = load_assignment(ASSIGNMENT)
CASES = load_cases(REFERENCE)
SOLUTION = (REFERENCE / "solution.py").read_text(encoding="utf-8")


@cache
def harness() -> dict[str, Any]:
    """Return the names of the assignment's harness."""
    return dict(load_harness(ASSIGNMENT, "paged_attention_harness"))


def namespace(text: str, name: str) -> dict[str, Any]:
    """Return the names that a module of this text defines."""
    import_triton_interpreter()
    names: dict[str, Any] = {"__name__": name}
    linecache.cache[name] = (
        len(text),
        None,
        text.splitlines(keepends=True),
        name,
    )  # Triton reads it
    with fresh_kernels(REFERENCE):
        exec(compile(text, name, "exec"), names)
    return names


def wrong(name: str) -> dict[str, Any]:
    """Return the names of a wrong submission, which is appended to the solution."""
    text = (REFERENCE / "wrong" / f"{name}.py").read_text(encoding="utf-8")
    return namespace(f"{SOLUTION}\n\n{text}", name)


def run_case(
    names: dict[str, Any], key: tuple[str, str], index: int, *, seed: str = "secret"
) -> CaseMeasurement:
    """Run one hidden instance of a check, shortened if it is a sequence that fails."""
    maker = CASES[key]
    draw = Draw(seed, (TABLE.slug, *key), index)

    def run(steps: CaseSteps) -> CaseMeasurement:
        worker = LocalWorker(names, harness())
        return drive(steps, worker, check=key[1], index=index, public=False)

    if isinstance(maker, SequenceMaker):
        return drive_sequence(maker, draw, run, alive=lambda: True)
    return run(maker(draw))


def failures(names: dict[str, Any], *, problem: str = "", seed: str = "secret") -> dict[str, Cause]:
    """Return the checks that fail, each with its first cause; of one problem or of all."""
    failed: dict[str, Cause] = {}
    for one in TABLE.problems:
        for check in one.checks if problem in ("", one.name) else ():
            for index in range(CASES[one.name, check.name].hidden):
                seen = run_case(names, (one.name, check.name), index, seed=seed)
                verdict = judge_case(seen, check.tolerance)
                if verdict.cause is not Cause.NONE:
                    failed.setdefault(f"{one.name}.{check.name}", verdict.cause)
    return failed
