"""`check(problem, object)`: the public cases on something defined in a notebook.

Takes: a problem's name and the student's functions or classes. Gives: a `PublicResult`, which a
notebook shows as a table. Does not cover: limits; the code runs in the notebook's own process, and
interrupting the kernel ends an endless loop.
"""

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.assignment.folders import find_assignment, list_assignments
from grader.assignment.table import Assignment, Problem, load_assignment
from grader.errors import UsageError
from grader.student.result import PublicResult

if TYPE_CHECKING:
    from grader.assignment.table import Check

Defined = Any  # a function or class of the student's

_CELLS = ("<ipython", "<stdin", "<string")


def check(
    problem: str, defined: Defined = None, /, *, assignment: str = "", **exports: Defined
) -> PublicResult:
    """Run the public cases of `problem`.

    Args:
        problem: name of the problem, such as `"decode_attention"`.
        defined: the function or class to check.
        assignment: slug, needed only if several installed assignments have such a problem.
        exports: functions or classes by name, for a problem that needs more than one.

    Raises:
        UsageError: if there is no such problem, or nothing to check was given.
    """
    folder, table, wanted = _find(problem, assignment)
    namespace = _namespace(wanted, defined, exports)
    return _run(folder, table, wanted, namespace)


def _find(problem: str, slug: str) -> tuple[Path, Assignment, Problem]:
    folders = (find_assignment(slug),) if slug else list_assignments()
    found: list[tuple[Path, Assignment, Problem]] = []
    names: list[str] = []
    for folder in folders:
        table = load_assignment(folder)
        names += [one.name for one in table.problems]
        found += [(folder, table, one) for one in table.problems if one.name == problem]
    if not found:
        raise UsageError(f"no problem {problem!r}; here are: {', '.join(names) or 'none'}")
    if len(found) > 1:
        slugs = ", ".join(repr(table.slug) for _, table, _ in found)
        raise UsageError(f"several assignments have {problem!r}: name one, assignment={slugs}")
    return found[0]


def _namespace(
    problem: Problem, defined: Defined, exports: dict[str, Defined]
) -> dict[str, Defined]:
    """Return the student's objects under the names that the cases ask for."""
    unknown = [name for name in exports if name not in problem.exports]
    if unknown or (defined is None and not exports):
        wanted = ", ".join(problem.exports)
        example = f'check("{problem.name}", {problem.exports[0]})'
        found = f"found {', '.join(unknown)}" if unknown else "nothing was given"
        raise UsageError(f"{problem.name} checks {wanted}; {found}. For example: {example}")
    if defined is None:
        return exports
    own = getattr(defined, "__name__", "")
    return {own if own in problem.exports else problem.exports[0]: defined, **exports}


def _run(
    folder: Path, table: Assignment, problem: Problem, namespace: dict[str, Defined]
) -> PublicResult:
    # These import torch, which the rest of a student's commands do without.
    from grader.assignment.declare import load_harness
    from grader.student.local_ranks import local_worker
    from grader.student.replay import run_check
    from grader.student.trace import load_problem

    traced = load_problem(folder, problem.name)
    harness = load_harness(folder)
    results = tuple(
        run_check(
            problem,
            one,
            traced,
            local_worker(problem.ranks, namespace, harness, place=_place),
            _unobserved,
        )
        for one in problem.checks
    )
    return PublicResult(assignment=table.slug, source="this notebook", checks=results)


def _unobserved(check: "Check", doing: str) -> None:
    """Let a step begin without telling anyone."""


def _place(error: BaseException) -> str:
    """Return the innermost line that lies in a notebook cell, by the function it belongs to."""
    frames = traceback.extract_tb(error.__traceback__)
    cells = [f for f in frames if "ipykernel" in f.filename or f.filename.startswith(_CELLS)]
    return f"line {cells[-1].lineno} of the cell, in {cells[-1].name}" if cells else ""
