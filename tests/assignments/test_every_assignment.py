"""Every assignment folder is found here: the starter scores nothing, the solution everything.

The whole validation of an assignment, with each wrong submission and each target, is
`make validate`.
"""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from grader.assignment.folders import find_assignment, find_reference, list_assignments
from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference, new_seed
from grader.assignment.table import load_assignment
from grader.assignment.target import CheckKind
from grader.batch import BatchOptions, open_sandboxes
from grader.correctness.run import measure
from grader.errors import UsageError
from grader.judge.judge import judge
from grader.judge.judgement import Cause, Judgement, Verdict
from grader.sandbox.backends import choose
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from grader.validate.known_submission import Kind, load_known_submissions
from grader.validate.ledger import compare_ledger
from grader.worker.machine import TimedMachine

ROOT = Path(__file__).resolve().parents[2]
SLUGS = [found.name for found in list_assignments(ROOT / "assignments")]


def open_here(slug: str) -> LoadedAssignment:
    return load_assignment_with_reference(
        find_assignment(slug, ROOT / "assignments"),
        find_reference(slug, ROOT / "reference"),
        device="cpu",
        seed=new_seed(),
    )


def _shortened(loaded: LoadedAssignment) -> LoadedAssignment:
    """Leave out targets, and all but one hidden case of each check."""
    problems = tuple(
        replace(
            problem,
            targets=(),
            checks=tuple(replace(check, hidden=min(check.hidden, 1)) for check in problem.checks),
        )
        for problem in loaded.plan.problems
    )
    return replace(loaded, plan=replace(loaded.plan, problems=problems))


def best_wall() -> str:
    """Bubblewrap first: it starts fastest; unconfined where there is nothing, for trusted code."""
    try:
        sandbox = choose("auto", DEFAULT_IMAGE)
    except UsageError:
        return "none"
    return "bwrap" if sandbox == "docker" and _has_bwrap() else sandbox


def _has_bwrap() -> bool:
    from grader.sandbox.backends import missing_bwrap

    return not missing_bwrap()


@pytest.fixture(scope="module", params=SLUGS)
def scores(request: pytest.FixtureRequest) -> dict[Kind, Judgement]:
    """Starter and solution, judged by every check and no target, with fewer cases than a class."""
    whole = open_here(request.param)
    loaded = _shortened(whole)
    machine = TimedMachine()
    options = BatchOptions(
        sandbox=best_wall(), isolation=Isolation.WARM, jobs=1, image=DEFAULT_IMAGE, force=False
    )
    known = [one for one in load_known_submissions(whole) if one.name in ("starter", "solution")]
    with open_sandboxes(loaded, options) as sandboxes:
        return {
            one.kind: judge(
                loaded.plan, measure(one.submission(), loaded, sandboxes=sandboxes, machine=machine)
            )
            for one in known
        }


def test_there_are_assignments() -> None:
    assert {"gpu_kernels", "kv_cache", "paged_attention"} <= set(SLUGS)


def test_the_starter_is_missing_everything(scores: dict[Kind, Judgement]) -> None:
    starter = scores[Kind.STARTER]
    assert starter.score == 0
    assert {check.cause for check in starter.checks} == {Cause.MISSING}


def test_the_solution_passes_every_check(scores: dict[Kind, Judgement]) -> None:
    solution = scores[Kind.SOLUTION]
    assert [(c.check, c.summary) for c in solution.checks if c.verdict is not Verdict.PASS] == []
    assert solution.score == solution.max_score > 0


@pytest.mark.parametrize("slug", SLUGS)
def test_there_is_enough_to_prove_it_with(slug: str) -> None:
    loaded = open_here(slug)
    known_submissions = load_known_submissions(loaded)
    wrong = [one for one in known_submissions if one.kind is Kind.WRONG]
    for problem in loaded.plan.problems:
        mine = [one for one in wrong if one.caught_by.startswith(f"{problem.name}.")]
        assert len(mine) >= 4, problem.name
    assert len([one for one in known_submissions if one.kind is Kind.RIGHT]) >= 3


@pytest.mark.parametrize("slug", SLUGS)
def test_every_sentence_of_starter_and_handout_is_in_the_ledger(slug: str) -> None:
    loaded = open_here(slug)
    found = compare_ledger(loaded, load_known_submissions(loaded))
    assert found.complaints == ()
    assert found.rows


@pytest.mark.parametrize("slug", SLUGS)
def test_the_handout_names_every_edge_check_and_its_share(slug: str) -> None:
    folder = find_assignment(slug, ROOT / "assignments")
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "every\nessential check" in readme or "every essential check" in readme
    for problem in load_assignment(folder).problems:
        (row,) = re.findall(rf"^\| `{problem.name}` \| \d+ \|.*\|$", readme, re.MULTILINE)
        edges = [check for check in problem.checks if check.kind is CheckKind.EDGE]
        shares = (f"`{c.name}` {100 * c.share_of(problem.checks):.0f} %" for c in edges)
        assert row.split("|")[-2].strip() == ", ".join(shares), f"{slug}: correct the table"
        assert problem.targets or not edges, f"{slug}.{problem.name}: nothing that they could cost"


@pytest.mark.parametrize("slug", SLUGS)
def test_allowed_imports_cover_the_solution(slug: str) -> None:
    loaded = open_here(slug)
    program = (
        "import ast, sys; tree = ast.parse(open(sys.argv[1]).read());"
        "print(*{(n.module if isinstance(n, ast.ImportFrom) else n.names[0].name).split('.')[0]"
        " for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))})"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(loaded.reference / "solution.py")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(ran.stdout.split()) <= {
        *loaded.assignment.allowed_imports,
        *("__future__", "harness", "kernels"),
    }
