"""`check(problem, object)`: runs the public cases on a function or class defined in a notebook.

The result is a `PublicResult`, which a notebook shows as a table. The code runs in the notebook's
own process without limits: interrupt the notebook's kernel to end an endless loop.
"""

import traceback
from pathlib import Path
from typing import Any

from grader.assignment.folders import find_assignment, list_assignments
from grader.assignment.table import Assignment, Problem, load_assignment
from grader.errors import UsageError
from grader.student.oversights import absent_modules
from grader.student.result import PublicCheck, PublicResult

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
        UsageError: if there is no such problem, or there is nothing to check.
    """
    folder, table, wanted = _find(problem, assignment)
    namespace = _namespace(wanted, defined, exports)
    # These import torch, which takes seconds and which other commands do not need.
    from grader.assignment.declare import load_harness
    from grader.student.local_ranks import local_worker
    from grader.student.replay import run_check
    from grader.student.trace import load_problem

    traced = load_problem(folder, wanted.name)
    harness = load_harness(folder)
    results: list[PublicCheck] = []
    for one in wanted.checks:
        worker = local_worker(wanted.ranks, namespace, harness, locate=_locate)
        results.append(run_check(wanted, one, traced, worker))
    return PublicResult(
        assignment=table.slug,
        source="this notebook",
        checks=tuple(results),
        notices=absent_modules(namespace.values(), table.allowed_imports),
    )


def _find(problem: str, slug: str) -> tuple[Path, Assignment, Problem]:
    folders = (find_assignment(slug),) if slug else list_assignments()
    tables = [(folder, load_assignment(folder)) for folder in folders]
    every = [(folder, table, one) for folder, table in tables for one in table.problems]
    found = [(folder, table, one) for folder, table, one in every if one.name == problem]
    if not found:
        names = ", ".join(one.name for _, _, one in every) or "none"
        raise UsageError(f"no problem {problem!r}; the problems are: {names}")
    if len(found) > 1:
        slugs = ", ".join(repr(table.slug) for _, table, _ in found)
        raise UsageError(
            f"several assignments have a problem {problem!r}: choose one with assignment={slugs}"
        )
    return found[0]


def _namespace(
    problem: Problem, defined: Defined, exports: dict[str, Defined]
) -> dict[str, Defined]:
    """Return the student's objects under the names that the cases use."""
    unknown = [name for name in exports if name not in problem.exports]
    if unknown or (defined is None and not exports):
        wanted = ", ".join(problem.exports)
        example = f'check("{problem.name}", {problem.exports[0]})'
        found = f"found {', '.join(unknown)}" if unknown else "found nothing"
        raise UsageError(f"{problem.name} needs {wanted}; {found}. Write, for example: {example}")
    if defined is None:
        return exports
    own = getattr(defined, "__name__", "")
    return {own if own in problem.exports else problem.exports[0]: defined, **exports}


def _locate(error: BaseException) -> str:
    """Return the innermost line of an exception that is in a cell, and the function around it."""
    frames = traceback.extract_tb(error.__traceback__)
    cells = [f for f in frames if "ipykernel" in f.filename or f.filename.startswith(_CELLS)]
    return f"line {cells[-1].lineno} of the cell, in {cells[-1].name}" if cells else ""
