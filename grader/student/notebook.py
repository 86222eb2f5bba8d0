"""`check` and `case` in a notebook or a Python prompt: public cases on what is defined there.

`check` shows its result as a table, whichever expression of a cell it is. The code runs in the
notebook's own process without limits: interrupt the notebook's kernel to end an endless loop.
"""

import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.assignment.folders import find_assignment, list_assignments
from grader.assignment.public_cases import CaseName, choose_case, list_cases
from grader.assignment.table import Assignment, Problem, load_assignment
from grader.errors import UsageError
from grader.student.oversights import absent_modules
from grader.student.result import PublicCheck, PublicResult, with_code
from grader.student.work import read_mark

if TYPE_CHECKING:
    from grader.student.live_case import Case

Defined = Any  # a function or class of the student's
Scope = Mapping[str, Defined]

_CELLS = ("<ipython", "<stdin", "<string")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A problem, and the assignment that has it."""

    folder: Path
    table: Assignment
    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ShownResult(PublicResult):
    """A result that has been shown when it was made, in the notebook's cell of this number."""

    cell: int

    def __str__(self) -> str:
        """Return one line: who prints it has seen the rest."""
        return f"{self.verdict}. {self.note}"

    def _ipython_display_(self) -> None:
        """Show it, unless it is the last expression of the cell in which it was made."""
        shell = running_notebook()
        if shell is not None and shell.execution_count != self.cell:
            _publish(self, shell)


def running_notebook() -> Any:  # noqa: ANN401 - IPython's shell; IPython need not be installed
    """Return IPython's shell if this code runs in one, else None."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_ipython() if get_ipython else None


def show(result: PublicResult) -> ShownResult:
    """Show a result at once, in a notebook or by printing it, and return it.

    Python's own prompt shows the last expression by itself, so nothing is printed there.
    """
    shell = running_notebook()
    if shell is not None:
        _publish(result, shell)
    elif not hasattr(sys, "ps1"):
        print(repr(result))
    known = {field.name: getattr(result, field.name) for field in fields(PublicResult)}
    return ShownResult(**known, cell=shell.execution_count if shell is not None else 0)


def _publish(result: PublicResult, shell: Any) -> None:  # noqa: ANN401 - IPython's shell
    shell.display_pub.publish({"text/plain": repr(result), "text/html": result._repr_html_()})


def check(
    problem: str | Callable[..., Defined] = "",
    defined: Defined = None,
    /,
    *,
    assignment: str = "",
    **exports: Defined,
) -> PublicResult:
    """Run the public cases of a problem, or of all problems, show the result and return it.

    Args:
        problem: name of the problem, such as `"decode_attention"`, or the function or class itself;
            without it all problems are checked.
        defined: the function or class to check; without it, what has the name that is asked for.
        assignment: slug, needed only if several installed assignments have such a problem.
        exports: functions or classes by name, for a problem that needs more than one.

    Raises:
        UsageError: if there is no such problem, or there is nothing to check.
    """
    caller = sys._getframe(1)
    scope = {**caller.f_globals, **caller.f_locals}
    if not problem:
        folder, table = _assignment_of(scope, assignment)
        wanted = [_Found(folder=folder, table=table, problem=one) for one in table.problems]
        return _check(wanted, [{**scope, **exports}] * len(wanted))
    if not isinstance(problem, str):
        problem, defined = str(getattr(problem, "__name__", problem)), problem
    found = _find(problem, assignment)
    return _check([found], [_namespace(found.problem, defined, exports, scope)])


def case(name: str, index: int = 0, /, *, assignment: str = "") -> "Case":
    """Return a public case: its live inputs, what is expected, and its calls as code.

    Args:
        name: of the check, such as `"KVCache.append_chunks"`.
        index: number of the case among the public cases of the check.
        assignment: slug, needed only if several installed assignments have such a problem.

    Raises:
        UsageError: if there is no such case; the message has the nearest names.
    """
    found = _find(name.partition(".")[0], assignment)
    full = name if name.endswith("]") else f"{name}[{index}]"
    chosen = choose_case(full, list_cases(found.folder, (found.problem.name,)))
    from grader.student.live_case import Case  # imports torch, which takes seconds

    scope = sys._getframe(1).f_globals  # what is defined later is in it, too

    def run(defined: Defined, exports: Mapping[str, Defined]) -> PublicResult:
        namespace = _namespace(found.problem, defined, exports, scope)
        return _check([found], [namespace], only=chosen)

    return Case(folder=found.folder, table=found.table, name=chosen, run=run)


def _check(
    wanted: Sequence[_Found], namespaces: Sequence[Scope], only: CaseName | None = None
) -> ShownResult:
    """Run the public cases of some problems, each on its own names, and show the result."""
    # These import torch, which takes seconds and which other commands do not need.
    from grader.assignment.declare import load_harness
    from grader.student.local_ranks import local_worker
    from grader.student.local_worker import interpret_as_graded
    from grader.student.played import play_check
    from grader.student.trace import load_problem

    first = wanted[0]
    harness = load_harness(first.folder)
    results: list[PublicCheck] = []
    interpret_as_graded()
    for found, namespace in zip(wanted, namespaces, strict=True):
        problem, traced = found.problem, load_problem(found.folder, found.problem.name)
        for one in problem.checks:
            if only is not None and one.name != only.check:
                continue
            worker = local_worker(problem.ranks, namespace, harness, locate=_locate)
            index = only.index if only else None
            results.append(play_check(problem, one, traced, worker, only=index).judge())
    defined = [value for namespace in namespaces for value in namespace.values()]
    return show(
        PublicResult(
            assignment=first.table.slug,
            source="this notebook",
            checks=with_code(results, first.folder, module=""),
            notices=absent_modules(defined, first.table.allowed_imports),
            other_points=sum(one.points for found in wanted for one in found.problem.targets),
            command="",
        )
    )


def _tables(slug: str) -> list[tuple[Path, Assignment]]:
    """Return the assignment of this name, or all that are installed."""
    folders = (find_assignment(slug),) if slug else list_assignments()
    return [(folder, load_assignment(folder)) for folder in folders]


def _assignment_of(scope: Scope, slug: str) -> tuple[Path, Assignment]:
    """Return the assignment that is named, is worked on in this folder, or asks for these names."""
    tables = _tables(slug or read_mark(Path()).slug)

    def defined(found: tuple[Path, Assignment]) -> int:
        return sum(name in scope for problem in found[1].problems for name in problem.exports)

    most = max(map(defined, tables), default=0)
    likely = [found for found in tables if defined(found) == most]
    if len(likely) != 1:
        slugs = ", ".join(repr(table.slug) for _, table in tables) or "none"
        raise UsageError(f"choose an assignment with check(assignment=...): {slugs}")
    return likely[0]


def _find(problem: str, slug: str) -> _Found:
    """Return the problem of this name, or the one that asks for a function of this name."""
    every = [
        _Found(folder=folder, table=table, problem=one)
        for folder, table in _tables(slug)
        for one in table.problems
    ]
    found = [one for one in every if one.problem.name == problem]
    found = found or [one for one in every if problem in one.problem.exports]
    if not found:
        names = [one.problem.name for one in every]
        near = difflib.get_close_matches(problem, names, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ";"
        listed = ", ".join(names) or "none"
        raise UsageError(f"no problem {problem!r}{meant} the problems are: {listed}")
    if len(found) > 1:
        here = [one for one in found if one.table.slug == read_mark(Path()).slug]
        if len(here) == 1:
            return here[0]
        slugs = ", ".join(repr(one.table.slug) for one in found)
        raise UsageError(
            f"several assignments have a problem {problem!r}: choose one with assignment={slugs}"
        )
    return found[0]


def _namespace(
    problem: Problem, defined: Defined, exports: Mapping[str, Defined], scope: Scope
) -> Scope:
    """Return the student's objects under the names that the cases use."""
    known = {name: scope[name] for name in problem.exports if name in scope}
    unknown = [name for name in exports if name not in problem.exports]
    if unknown or (defined is None and not exports and not known):
        wanted = ", ".join(problem.exports)
        example = f'check("{problem.name}", {problem.exports[0]})'
        found = f"found {', '.join(unknown)}" if unknown else "found nothing"
        raise UsageError(f"{problem.name} needs {wanted}; {found}. Write, for example: {example}")
    if defined is None:
        return {**known, **exports}
    own = getattr(defined, "__name__", "")
    name = own if own in problem.exports else problem.exports[0]
    return {**known, name: defined, **exports}


def _locate(error: BaseException) -> str:
    """Return the innermost line of an exception that is in a cell, and the function around it."""
    from grader.runner.worker import stack_of  # it imports torch

    frames = stack_of(error)
    cells = [f for f in frames if "ipykernel" in f.filename or f.filename.startswith(_CELLS)]
    return f"line {cells[-1].lineno} of the cell, in {cells[-1].name}" if cells else ""
