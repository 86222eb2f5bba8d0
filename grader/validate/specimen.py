"""Submissions whose grade is known: starter, solution, `right/`, `wrong/`.

Takes: the two folders of an assignment. Gives: `Specimen`s. Does not cover: running them.

A file in `wrong/` begins with TOML in comment lines: `base` (`"solution"`: its text is appended to
the solution's, so that it holds only what it gets wrong; `"none"`: it stands alone, as all in C++
do), `caught_by` (the check that must fail), `cause` (why), `also_fails` (every other check that
fails; `"softmax.*"` stands for all checks of a problem, `"*"` for all), `held` (targets that must
be held, because what is measured breaks a bound).

A file in `right/` may begin with `misses`: targets without a tier for `cpu`, as `problem.target`,
which a correct style need not reach on a device.
"""

import fnmatch
import re
import tomllib
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from grader.device.classes import CPU
from grader.errors import AuthorError
from grader.intake.submission import Origin, SourceFile, Submission
from grader.judge.judgement import Cause
from grader.plan.course import Course
from grader.plan.languages import Language
from grader.validate.affected import affected

CUDA_ENDING = ".cu"
_SETTING = re.compile(r"\w+\s*=")
HEADER_KEYS = {"base": str, "caught_by": str, "cause": str, "also_fails": list, "held": list}
RIGHT_HEADER_KEYS = {"misses": list}


class Kind(StrEnum):
    """What is known of a specimen."""

    STARTER = "starter"
    SOLUTION = "solution"
    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """One submission with its expected outcome.

    Attributes:
        name: file name, without its ending if that is Python's.
        kind: what is known of it.
        path: where it lies, for messages.
        text: the source as it enters the box.
        affects: problems that it can change, if it is the solution with something appended.
        fails: checks that must fail, as `problem.check`; all others must pass.
        held: targets that must be held; no other may be.
        misses: targets that may fail or pass: of a right one, on a device.
        caught_by: the check whose cause is known; empty unless WRONG.
        cause: cause of `caught_by`; NONE unless WRONG.
    """

    name: str
    kind: Kind
    path: Path
    text: str
    affects: frozenset[str]
    fails: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    misses: frozenset[str] = frozenset()
    caught_by: str = ""
    cause: Cause = Cause.NONE

    def submission(self) -> Submission:
        """Return the specimen as a submission."""
        in_cuda = self.path.suffix == CUDA_ENDING
        name = f"submission{self.path.suffix}"
        return Submission(
            name=f"{self.kind.value}-{self.name}",
            sha256="",
            origin=Origin.CUDA if in_cuda else Origin.MODULE,
            entry="submission",
            files=(SourceFile(name=name, text=self.text),),
        )


def load_specimens(course: Course) -> tuple[Specimen, ...]:
    """Return every specimen of an assignment.

    Raises:
        AuthorError: naming the file and what is wrong with it.
    """
    criteria = {f"{p.name}.{c.name}": c.cases for p in course.plan.problems for c in p.criteria}
    problems = frozenset(problem.name for problem in course.plan.problems)
    solution = _read(course.reference / "solution.py")
    found = [
        Specimen(
            name="starter",
            kind=Kind.STARTER,
            path=course.folder / "starter.py",
            text=_read(course.folder / "starter.py"),
            affects=problems,
            fails=frozenset(criteria),
        ),
        Specimen(
            name="solution",
            kind=Kind.SOLUTION,
            path=course.reference / "solution.py",
            text=solution,
            affects=problems,
        ),
    ]
    in_cuda = Language.CUDA in course.assignment.languages
    if in_cuda:
        path = course.folder / f"starter{CUDA_ENDING}"
        found.append(replace(found[0], name=f"starter{CUDA_ENDING}", path=path, text=_read(path)))
    endings = (".py", CUDA_ENDING) if in_cuda else (".py",)
    for path in _listed(course.reference / "right", endings):
        found.append(_read_right(path, course))
    exports = {problem.name: problem.exports for problem in course.plan.problems}
    for path in _listed(course.reference / "wrong", endings):
        found.append(_read_wrong(path, solution, criteria, exports))
    return tuple(found)


def _listed(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """Return the specimens of a folder: those in Python first."""
    return [path for ending in endings for path in sorted(folder.glob(f"*{ending}"))]


def _name(path: Path) -> str:
    return path.name if path.suffix == CUDA_ENDING else path.stem


def _read(path: Path) -> str:
    if not path.is_file():
        raise AuthorError(f"{path}: not found", hint="`grader new-assignment` shows the layout")
    return path.read_text(encoding="utf-8")


def _read_right(path: Path, course: Course) -> Specimen:
    text = _read(path)
    misses = frozenset(_header(path, text, RIGHT_HEADER_KEYS).get("misses", []))
    slow = {
        f"{problem.name}.{target.name}"
        for problem in course.assignment.problems
        for target in problem.targets
        if CPU not in target.tiers
    }
    for name in sorted(misses - slow):
        raise AuthorError(
            f"{path}: misses: expected targets without a tier for `{CPU}`, found {name!r}",
            hint=f"they are {', '.join(sorted(slow)) or 'none'}",
        )
    return Specimen(
        name=_name(path),
        kind=Kind.RIGHT,
        path=path,
        text=text,
        affects=frozenset(problem.name for problem in course.plan.problems),
        misses=misses,
    )


def _read_wrong(
    path: Path, solution: str, criteria: Mapping[str, int], exports: Mapping[str, tuple[str, ...]]
) -> Specimen:
    text = _read(path)
    header = _header(path, text, HEADER_KEYS)
    for key in ("caught_by", "cause"):
        if key not in header:
            raise AuthorError(f"{path}: the header has no {key!r}")
    in_cuda = path.suffix == CUDA_ENDING
    base = "none" if in_cuda else header.get("base", "solution")
    if base not in ("solution", "none"):
        raise AuthorError(f'{path}: base: expected "solution" or "none", found {base!r}')
    also = header.get("also_fails", [])
    fails = frozenset(
        [header["caught_by"], *(name for one in also for name in _expand(one, criteria))]
    )
    unknown = sorted(fails - criteria.keys())
    if unknown:
        raise AuthorError(
            f"{path}: no check called {unknown[0]!r}",
            hint=f"the checks are {', '.join(sorted(criteria))}",
        )
    causes = [cause.value for cause in Cause if cause is not Cause.NONE]
    if header["cause"] not in causes:
        raise AuthorError(
            f"{path}: cause: expected one of {', '.join(causes)}, found {header['cause']!r}"
        )
    appended = base == "solution"
    targets = {name for name, cases in criteria.items() if not cases}
    return Specimen(
        name=_name(path),
        kind=Kind.WRONG,
        path=path,
        text=f"{solution}\n\n{text}" if appended else text,
        affects=affected(solution, text, exports) if appended else frozenset(exports),
        fails=fails,
        held=_read_held(path, header, targets - fails),
        caught_by=header["caught_by"],
        cause=Cause(header["cause"]),
    )


def _read_held(path: Path, header: Mapping[str, list[str]], allowed: Set[str]) -> frozenset[str]:
    """Return the targets that must be held; `allowed` are those that do not fail."""
    held = frozenset(header.get("held", []))
    for name in sorted(held - allowed):
        raise AuthorError(
            f"{path}: held: expected targets that do not fail, found {name!r}",
            hint=f"they are {', '.join(sorted(allowed)) or 'none'}",
        )
    return held


def _expand(pattern: str, criteria: Mapping[str, int]) -> list[str]:
    """Return what an entry of `also_fails` stands for; targets, which have no cases, by name only.

    Args:
        pattern: the entry.
        criteria: number of cases of each check and target.
    """
    if "*" not in pattern:
        return [pattern]
    return fnmatch.filter(sorted(name for name, cases in criteria.items() if cases), pattern)


def _header(path: Path, text: str, keys: Mapping[str, type]) -> dict:  # type: ignore[type-arg]
    """Return the TOML of the comment lines at the top of a file, checked key by key."""
    lines: list[str] = []
    open_brackets = 0
    mark = "//" if path.suffix == CUDA_ENDING else "#"
    for line in text.splitlines():
        content = line.lstrip("#/").strip()
        if not line.startswith(mark) or not (open_brackets or _SETTING.match(content)):
            break  # prose may follow
        open_brackets += content.count("[") - content.count("]")
        lines.append(content)
    try:
        header = tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError as error:
        raise AuthorError(f"{path}: the header is not TOML: {error}") from error
    for key, value in header.items():
        if key not in keys:
            raise AuthorError(f"{path}: unknown header key {key!r}; allowed: {', '.join(keys)}")
        if not isinstance(value, keys[key]):
            raise AuthorError(f"{path}: {key}: expected a {keys[key].__name__}")
    return header
