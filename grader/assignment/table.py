"""Reads `assignment.toml` into an `Assignment`: problems with checks and targets, and limits.

Unknown keys, wrong types and values that make no sense are errors that name file, table and key,
with what was expected and found. Cases and seeds are no part of it (see `assignment.plan`).
"""

import math
import re
import tomllib
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import cattrs

from grader.assignment.key_path import KeyPath
from grader.assignment.launcher import DTYPE_NAMES, Launcher, read_launcher
from grader.assignment.target import CheckKind, Target, check_target
from grader.errors import AuthorError
from grader.runner.order import is_module
from grader.strict import strict_converter

SCHEMA_VERSION = 1
MAX_RANKS = 8
"""Of one world."""
MAX_LIMIT = 1 << 50
"""Of bytes, seconds or processes: Linux takes any such number."""
SLUG_PATTERN = re.compile(r"[a-z][a-z0-9_]{1,63}")
VERSION_PATTERN = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}")
NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
NEEDS = ("triton",)
DENIED_PATTERN = re.compile(r"@compute|[a-z_0-9]+::[A-Za-z0-9_*]+|torch(\.[A-Za-z0-9_]+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one worker process may use.

    Attributes:
        load_wall_s: seconds to import the submission, on the judge's clock.
        call_wall_s: seconds for one request, from sending it to the reply. Time in which other
            processes took the processors is not counted, here and in the others.
        problem_wall_s: seconds for all calls and imports of one problem.
        memory_bytes: memory of the submission's process tree beyond torch's own footprint; with
            ranks, memory of each rank.
        processes: processes and threads of the tree.
        reply_bytes: tensors of one reply, together.
        output_bytes: captured stdout and stderr of one problem; more is dropped.
        loopback: whether it may open internet sockets, which reach its sandbox's own loopback.
            Ranks may do so without this. Memory in socket buffers is charged separately.
        ranks: most ranks of any problem; at least as many as the problems declare.
        preload: modules that the fork server imports in advance, so that no submission waits for
            them or is charged their memory.
        compile_wall_s: seconds that a process has in addition for the first use of `torch.compile`,
            `torch.jit` and, on a device, Triton; only if the submission names one of them.
        preload_compilers: as `preload`, for a submission that names one of them; nothing where a
            problem denies operators, because torch's compilers get around that.
    """

    load_wall_s: float = 20.0
    call_wall_s: float = 10.0
    problem_wall_s: float = 60.0
    memory_bytes: int = 1 << 30
    processes: int = 64
    reply_bytes: int = 64 << 20
    output_bytes: int = 64 << 10
    loopback: bool = False
    ranks: int = 1
    preload: tuple[str, ...] = ()
    compile_wall_s: float = 60.0
    preload_compilers: tuple[str, ...] = ("torch._dynamo", "torch._inductor.compile_fx")


class Language(StrEnum):
    """What a submission may be written in."""

    PYTHON = "python"
    CUDA = "cuda"


class Evidence(StrEnum):
    """What kind of evidence a verdict has; reports show it beside every verdict.

    OUTSIDE: measured outside the submission's process.
    BOUNDED: claimed by that process, accepted only within bounds measured outside.
    DENIED: the operation was disabled, or the resource withheld, while the submission ran.
    ADVICE: read from the code or observed in its process; never gives points.
    """

    OUTSIDE = "outside"
    BOUNDED = "bounded"
    DENIED = "denied"
    ADVICE = "advice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One criterion of correctness: passed only if every instance of its case passes.

    Attributes:
        name: identifier, unique within the problem.
        title: what is checked, as a student reads it.
        points: published weight.
        tolerance: largest allowed `max |got − want| / scale` by dtype name; a dtype that is not
            listed is compared exactly.
        evidence: what kind of evidence the verdict has.
        kind: what failing it costs besides its points.
        share: of an edge check, the share of the problem's performance points that failing it
            costs; by default its points as a share of those of all checks of the problem.
    """

    name: str
    title: str
    points: float
    tolerance: dict[str, float] = field(default_factory=dict)
    evidence: Evidence = Evidence.OUTSIDE
    kind: CheckKind = CheckKind.ESSENTIAL
    share: float | None = None

    def share_of(self, checks: "tuple[Check, ...]") -> float:
        """Return the share of performance points that failing it costs, as one of `checks`."""
        if self.kind is CheckKind.ESSENTIAL:
            return 1.0
        return self.points / sum(c.points for c in checks) if self.share is None else self.share


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that students build.

    Attributes:
        name: identifier; also the column in `grades.csv`.
        title: one line for people.
        exports: names that the submission must define for this problem.
        checks: its criteria of correctness.
        targets: its criteria of performance.
        denied: operators and modules of torch that raise while the submission runs, such as
            `aten::softmax`, `torch.nn.parallel`, or `@compute` for all that compute.
        launchers: the C++ function of each export, where CUDA C++ is allowed; else none.
        ranks: ranks of the largest world that its cases start; 0 without ranks.
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
    """The checked content of `assignment.toml`.

    Attributes:
        schema_version: version of this format.
        slug: identifier; the folder's name.
        title: one line for people.
        allowed_imports: top-level modules that submissions may import beside Python's standard
            library, torch, numpy, triton, typing_extensions and the assignment's harness. Importing
            any other fails with one message, at home and in grading; what these import themselves
            is theirs. The sandbox's image must hold what is named here.
        limits: what one worker process may use.
        problems: in the order in which they are graded and shown.
        languages: what a submission may be written in.
        version: of what students get, such as "1.2"; raise it with each corrected bundle.
        needs: packages beyond torch without which nobody can do the assignment: `triton` or none.
        without_device_targets: whether targets without a tier for `cpu` are left out of the
            maximum, on every machine, as with `grader grade --without-device-targets`.
    """

    schema_version: int
    slug: str
    title: str
    allowed_imports: tuple[str, ...]
    limits: Limits
    problems: tuple[Problem, ...]
    languages: tuple[Language, ...] = (Language.PYTHON,)
    version: str = "1.0"
    needs: tuple[str, ...] = ()
    without_device_targets: bool = False

    @property
    def exports(self) -> tuple[str, ...]:
        """The names that a submission must define, each once."""
        return tuple(dict.fromkeys(name for one in self.problems for name in one.exports))

    @property
    def launchers(self) -> tuple[Launcher, ...]:
        """The C++ functions of all exports; none unless CUDA C++ is allowed."""
        return tuple(one for problem in self.problems for one in problem.launchers)

    @property
    def points(self) -> float:
        """Sum of the weights of all checks and targets."""
        return sum(problem.points for problem in self.problems)


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
    check: tuple[Check, ...]
    target: tuple[Target, ...] = ()
    denied: tuple[str, ...] = ()
    launcher: tuple[Launcher, ...] = ()
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
    version: str = "1.0"
    needs: tuple[str, ...] = ()
    without_device_targets: bool = False


def load_assignment(folder: Path) -> Assignment:
    """Parse `folder/assignment.toml`.

    Raises:
        AuthorError: the message names file, table and key, with what was expected and found.
    """
    path = folder / "assignment.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AuthorError(
            f"{path}: not found", hint="`grader list` names the assignments"
        ) from error
    except (ValueError, RecursionError, OSError) as error:
        raise AuthorError(f"{path}: not valid TOML: {error}") from error
    file = KeyPath(file=path)
    try:
        parsed = _converter().structure(table, _AssignmentFile)
    except cattrs.BaseValidationError as error:
        raise AuthorError(file.explain(error, table)) from error
    assignment = Assignment(
        schema_version=parsed.schema_version,
        slug=parsed.slug,
        title=parsed.title,
        allowed_imports=parsed.allowed_imports,
        limits=_limits(parsed),
        problems=tuple(_problem(table, parsed.denied) for table in parsed.problem),
        languages=parsed.languages,
        version=parsed.version,
        needs=parsed.needs,
        without_device_targets=parsed.without_device_targets,
    )
    _check_values(assignment, folder, file)
    return assignment


def _converter() -> cattrs.Converter:
    """Return a strict converter that also reads the entries of launchers."""
    converter = strict_converter()

    def read(value: Any, _: type) -> Launcher:  # noqa: ANN401 - parsed TOML
        table = converter.structure(value, _LauncherTable)
        return read_launcher(table.name, table.inputs, table.outputs)

    converter.register_structure_hook(Launcher, read)
    return converter


def _limits(parsed: _AssignmentFile) -> Limits:
    """Return the limits with what follows from the problems: ranks, and denied operators."""
    ranks = (parsed.limits.ranks, *(problem.ranks for problem in parsed.problem))
    denied = (*parsed.denied, *(entry for problem in parsed.problem for entry in problem.denied))
    compilers = parsed.limits.preload_compilers if all(map(is_module, denied)) else ()
    return replace(parsed.limits, ranks=max(ranks), preload_compilers=compilers)


def _problem(table: _ProblemTable, denied: tuple[str, ...]) -> Problem:
    """Return one problem; what the assignment denies is denied in each problem."""
    return Problem(
        name=table.name,
        title=table.title,
        exports=table.exports,
        checks=table.check,
        targets=table.target,
        denied=tuple(dict.fromkeys((*denied, *table.denied))),
        launchers=table.launcher,
        ranks=table.ranks,
    )


def _check_values(assignment: Assignment, folder: Path, table: KeyPath) -> None:
    """Raise for values that have the right type and still make no sense."""
    _check_head(assignment, folder, table)
    if not assignment.problems:
        table.fail("problem", "at least one [[problem]]", 0)
    _check_names("problem", [problem.name for problem in assignment.problems], table)
    for problem in assignment.problems:
        _check_problem(problem, table.inside("problem", problem.name))
    for limit in fields(Limits):
        value = getattr(assignment.limits, limit.name)
        if type(value) in (int, float) and not 0 < value < MAX_LIMIT:
            table.fail(f"limits.{limit.name}", "a number above 0 and below 2^50", value)
    if assignment.limits.ranks > MAX_RANKS:
        table.fail("limits.ranks", f"at most {MAX_RANKS}", assignment.limits.ranks)
    for module in (*assignment.limits.preload, *assignment.limits.preload_compilers):
        if not all(part.isidentifier() for part in module.split(".")):
            table.fail("limits.preload", 'names of modules such as "torch._dynamo"', module)
    _check_languages(assignment, table)


def _check_head(assignment: Assignment, folder: Path, table: KeyPath) -> None:
    if assignment.schema_version != SCHEMA_VERSION:
        table.fail("schema_version", str(SCHEMA_VERSION), assignment.schema_version)
    if assignment.slug != folder.name or not SLUG_PATTERN.fullmatch(assignment.slug):
        table.fail("slug", f"the folder's name, {folder.name!r}", assignment.slug)
    if not VERSION_PATTERN.fullmatch(assignment.version):
        table.fail("version", 'numbers such as "1.2"', assignment.version)
    if set(assignment.needs) - set(NEEDS):
        table.fail("needs", f"none or {', '.join(NEEDS)}", list(assignment.needs))


def _check_problem(problem: Problem, table: KeyPath) -> None:
    if not problem.checks:
        table.fail("check", "at least one [[problem.check]]", 0)
    names = [check.name for check in problem.checks]
    if not problem.exports:
        table.fail("exports", "the names that the submission must define", [])
    _check_names("check", names, table)
    _check_names("target", [*(target.name for target in problem.targets), *names], table)
    for check in problem.checks:
        within = table.inside("check", check.name)
        if not 0 < check.points < math.inf:
            within.fail("points", "a number above 0", check.points)
        _check_tolerance(check.tolerance, within)
    _check_kinds(problem, table)
    if not 0 <= problem.ranks <= MAX_RANKS:
        table.fail("ranks", f"0 to {MAX_RANKS}", problem.ranks)
    for target in problem.targets:
        within = table.inside("target", target.name)
        check_target(target, problem.ranks, within)
        _check_tolerance(target.tolerance, within)
    for entry in problem.denied:  # `assignment.loaded` finds names that torch lacks
        if not DENIED_PATTERN.fullmatch(entry):
            table.fail("denied", '"@compute" or names such as "aten::mm", "torch.fft"', entry)


def _check_kinds(problem: Problem, table: KeyPath) -> None:
    """Raise unless shares belong to edge checks, and something essential stands before speed."""
    edges = [check for check in problem.checks if check.kind is CheckKind.EDGE]
    if problem.targets and edges == list(problem.checks):
        expected = '"essential" for at least one check, because the problem has targets'
        table.inside("check", edges[0].name).fail("kind", expected, "edge")
    left = 1.0
    for check in problem.checks:
        within = table.inside("check", check.name)
        if check.share is not None and check not in edges:
            within.fail("share", 'none without kind = "edge"', check.share)
        if check in edges and problem.targets:
            left -= (share := check.share_of(problem.checks))
            if not 0 <= share < 1 or left <= 0:
                within.fail("share", "0 or more, and less than 1 of all edge checks", share)


def _check_tolerance(tolerances: dict[str, float], table: KeyPath) -> None:
    for dtype, tolerance in tolerances.items():
        if dtype not in DTYPE_NAMES:
            table.fail(f"tolerance.{dtype}", "a dtype such as float32", dtype)
        if not 0 <= tolerance < 1:
            table.fail(f"tolerance.{dtype}", "a number in [0, 1)", tolerance)


def _check_names(kind: str, names: list[str], table: KeyPath) -> None:
    for name in names:
        within = table.inside(kind, name)
        if not NAME_PATTERN.fullmatch(name):
            within.fail("name", "letters, digits and _, a letter first, 64 at most", name)
        if names.count(name) > 1:
            within.fail("name", "a name that nothing else here has", name)


def _check_languages(assignment: Assignment, table: KeyPath) -> None:
    """Raise unless every export has one launcher if CUDA C++ is allowed, and none otherwise."""
    if not assignment.languages or len({*assignment.languages}) < len(assignment.languages):
        table.fail("languages", "each language once", [str(one) for one in assignment.languages])
    in_cuda = Language.CUDA in assignment.languages
    for problem in assignment.problems:
        if in_cuda and problem.ranks:
            table.fail("languages", f"python alone, because {problem.name} has ranks", "cuda")
        found = [one.name for one in problem.launchers]
        expected = sorted(problem.exports) if in_cuda else []
        if sorted(found) != expected:
            listed = ", ".join(expected) or 'none without languages = ["python", "cuda"]'
            within = table.inside("problem", problem.name)
            within.fail("launcher", f"one for each of {listed}" if in_cuda else listed, found)
    _check_choices(assignment, table)


def _check_choices(assignment: Assignment, table: KeyPath) -> None:
    """Raise unless a choice has the same words in every launcher: it is one type in C++."""
    known: dict[str, tuple[str, ...]] = {}
    launchers = [(problem, one) for problem in assignment.problems for one in problem.launchers]
    for problem, one in launchers:
        for parameter in (p for p in one.parameters if p.words):
            if known.setdefault(parameter.name, parameter.words) != parameter.words:
                within = table.inside("problem", problem.name).inside("launcher", one.name)
                expected = f"the same words wherever {parameter.name} is"
                within.fail("inputs", expected, parameter.words)
