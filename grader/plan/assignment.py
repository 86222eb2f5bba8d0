"""`assignment.toml` as one frozen tree; unknown keys and wrong types name file, line and key.

Takes: the path of an assignment folder. Gives: `Assignment`. Does not cover: cases and seeds
(see `plan.plan`).
"""

import math
import re
import tomllib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import cattrs

from grader.errors import AuthorError
from grader.plan.dtypes import DTYPE_NAMES
from grader.plan.languages import Language, check_languages
from grader.plan.launcher import BadEntry, Launcher, read_launcher
from grader.plan.limits import MOST_RANKS, Limits
from grader.plan.target import Target, check_target
from grader.plan.toml_place import Locator
from grader.strict import strict_converter

__all__ = [
    "SLUG_PATTERN",
    "Assignment",
    "Check",
    "Evidence",
    "Limits",
    "Problem",
    "load_assignment",
]

SCHEMA_VERSION = 1
SLUG_PATTERN = re.compile(r"[a-z][a-z0-9_]{1,63}")
DENIED_PATTERN = re.compile(r"@compute|[a-z_0-9]+::[A-Za-z0-9_*]+|torch(\.[A-Za-z0-9_]+)+")
NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


class Evidence(StrEnum):
    """What a criterion stands on; reports show it beside every verdict."""

    OUTSIDE = "outside"
    BOUNDED = "bounded"
    DENIED = "denied"
    ADVICE = "advice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One criterion of a problem: passed only if every instance of its case passes.

    Attributes:
        name: identifier, unique within the problem.
        title: what is checked, as a student reads it.
        points: published weight.
        tolerance: largest allowed `max |got − want| / scale` by dtype name; a dtype that is not
            listed is compared exactly.
        evidence: what the verdict stands on.
    """

    name: str
    title: str
    points: float
    tolerance: dict[str, float]
    evidence: Evidence = Evidence.OUTSIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to build.

    Attributes:
        name: identifier; also the column in `grades.csv`.
        title: one line for people.
        exports: names that the submission must define for this problem.
        checks: its criteria of correctness.
        targets: its criteria of performance.
        denied: operators and modules of torch that raise while its code runs; see
            `runner.operators` and `runner.fences`.
        launchers: for submissions in CUDA C++, what stands for each export; else none.
        ranks: largest world that its cases start; 0 if it runs in a box of its own.
    """

    name: str
    title: str
    exports: tuple[str, ...]
    checks: tuple[Check, ...]
    targets: tuple[Target, ...] = ()
    denied: tuple[str, ...] = ()
    launchers: tuple[Launcher, ...] = ()
    ranks: int = 0

    @property
    def points(self) -> float:
        """Sum of the weights of this problem's checks and targets."""
        return sum(check.points for check in self.checks) + sum(t.points for t in self.targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Everything `assignment.toml` says.

    Attributes:
        schema_version: version of this format.
        slug: identifier; the folder's name.
        title: one line for people.
        allowed_imports: top-level modules that the problem set expects; others are advice.
        limits: what one child process may use.
        problems: in the order in which they are graded and shown.
        languages: what a submission may be written in.
    """

    schema_version: int
    slug: str
    title: str
    allowed_imports: tuple[str, ...]
    limits: Limits
    problems: tuple[Problem, ...]
    languages: tuple[Language, ...] = (Language.PYTHON,)

    @property
    def launchers(self) -> tuple[Launcher, ...]:
        """What stands for the exports of all problems in CUDA C++; none if it is not taken."""
        return tuple(one for problem in self.problems for one in problem.launchers)

    @property
    def points(self) -> float:
        """Sum of the weights of all checks and targets."""
        return sum(problem.points for problem in self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CheckTable:
    name: str
    title: str
    points: float
    tolerance: dict[str, float] | None = None
    evidence: Evidence = Evidence.OUTSIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class _LauncherTable:
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProblemTable:
    name: str
    title: str
    exports: tuple[str, ...]
    check: tuple[_CheckTable, ...]
    target: tuple[Target, ...] = ()
    denied: tuple[str, ...] = ()
    launcher: tuple[_LauncherTable, ...] = ()
    ranks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _AssignmentFile:
    schema_version: int
    slug: str
    title: str
    problem: tuple[_ProblemTable, ...]
    allowed_imports: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    languages: tuple[Language, ...] = (Language.PYTHON,)


def load_assignment(folder: Path) -> Assignment:
    """Parse `folder/assignment.toml`.

    Raises:
        AuthorError: naming file, line, key, what was expected and what was found.
    """
    path = folder / "assignment.toml"
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except FileNotFoundError as error:
        raise AuthorError(f"{path}: not found", hint="run `grader list`") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AuthorError(f"{path}: not valid TOML: {error}") from error
    locate = Locator(path, text)
    try:
        parsed = strict_converter().structure(table, _AssignmentFile)
    except cattrs.BaseValidationError as error:
        raise AuthorError(locate.explain(error)) from error
    assignment = Assignment(
        schema_version=parsed.schema_version,
        slug=parsed.slug,
        title=parsed.title,
        allowed_imports=parsed.allowed_imports,
        limits=replace(parsed.limits, ranks=_most_ranks(parsed)),
        problems=tuple(_problem(table, parsed.denied, locate) for table in parsed.problem),
        languages=parsed.languages,
    )
    _check_values(assignment, folder, locate)
    return assignment


def _most_ranks(parsed: _AssignmentFile) -> int:
    return max((parsed.limits.ranks, *(table.ranks for table in parsed.problem)))


def _problem(table: _ProblemTable, denied: tuple[str, ...], locate: Locator) -> Problem:
    """Read one problem; what is denied in all of them is denied in it too."""
    checks = tuple(
        Check(
            name=check.name,
            title=check.title,
            points=check.points,
            tolerance=check.tolerance or {},
            evidence=check.evidence,
        )
        for check in table.check
    )
    return Problem(
        name=table.name,
        title=table.title,
        exports=table.exports,
        checks=checks,
        targets=table.target,
        denied=tuple(dict.fromkeys((*denied, *table.denied))),
        launchers=tuple(_launcher(one, locate) for one in table.launcher),
        ranks=table.ranks,
    )


def _launcher(table: _LauncherTable, locate: Locator) -> Launcher:
    try:
        return read_launcher(table.name, table.inputs, table.outputs)
    except BadEntry as bad:
        raise AuthorError(locate.complain(bad.key, bad.expected, bad.found)) from bad


def _check_values(assignment: Assignment, folder: Path, locate: Locator) -> None:
    """Raise for values that have the right type and still make no sense."""
    if assignment.schema_version != SCHEMA_VERSION:
        locate.fail("schema_version", str(SCHEMA_VERSION), assignment.schema_version)
    if assignment.slug != folder.name or not SLUG_PATTERN.fullmatch(assignment.slug):
        locate.fail("slug", f"the folder's name, {folder.name!r}", assignment.slug)
    if not assignment.problems:
        locate.fail("problem", "at least one [[problem]]", 0)
    _check_names("problem name", [problem.name for problem in assignment.problems], locate)
    for problem in assignment.problems:
        _check_problem(problem, locate)
        _check_denied(problem, locate)
    for module in assignment.limits.preload:
        if not all(part.isidentifier() for part in module.split(".")):
            locate.fail("preload", 'names of modules such as "torch._dynamo"', module)
    check_languages(assignment, locate)


def _check_problem(problem: Problem, locate: Locator) -> None:
    if not problem.checks:
        locate.fail("check", f"at least one [[problem.check]] in {problem.name}", 0)
    criteria: tuple[Check | Target, ...] = (*problem.checks, *problem.targets)
    _check_names(f"check or target name in {problem.name}", [c.name for c in criteria], locate)
    for check in problem.checks:
        if not 0 < check.points < math.inf:
            expected = f"a number above 0 for {problem.name}.{check.name}"
            locate.fail("points", expected, check.points)
    if not 0 <= problem.ranks <= MOST_RANKS:
        locate.fail("ranks", f"0 to {MOST_RANKS} in {problem.name}", problem.ranks)
    for target in problem.targets:
        check_target(target, problem.name, problem.ranks, locate)
    for criterion in criteria:
        for dtype, tolerance in criterion.tolerance.items():
            if dtype not in DTYPE_NAMES:
                locate.fail(f"tolerance.{dtype}", "a dtype such as float32", dtype)
            if not 0 <= tolerance < 1:
                locate.fail(f"tolerance.{dtype}", "a number in [0, 1)", tolerance)


def _check_denied(problem: Problem, locate: Locator) -> None:
    """Raise for what cannot be the name of an operator; see `plan.denied` for unknown ones."""
    for entry in problem.denied:
        if not DENIED_PATTERN.fullmatch(entry):
            expected = f'"@compute" or names such as "aten::mm", "torch.fft" in {problem.name}'
            locate.fail("denied", expected, entry)


def _check_names(what: str, names: list[str], locate: Locator) -> None:
    for name in names:
        if not NAME_PATTERN.fullmatch(name):
            locate.fail("name", f"a {what} of letters, digits and _", name)
        if names.count(name) > 1:
            locate.fail("name", f"every {what} once", name)
