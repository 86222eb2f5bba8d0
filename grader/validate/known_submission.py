"""Loads the submissions whose result is known: starter, solution, `right/` and `wrong/`.

A file in `wrong/` begins with TOML in comment lines:

    base          "solution" (default): the file is appended to the solution, so it contains only
                  what is wrong; or to the file of `kernels/` that alone defines one of its
                  names. "none": the file is complete, as every file in C++ is.
    caught_by     the check that must fail.
    cause         the cause with which it must fail; "wrong_value or crash", where what is drawn
                  decides which comes first.
    also_fails    all other checks that must fail; "softmax.*" means all checks of a problem,
                  "*" means all checks. A check that plays rows of factors may fail or not beside
                  another check of its problem, listed or not.
    needs_review  targets that must need review, because the measurement is implausible.

A file in `right/` may begin with `misses`: targets without a tier for `cpu`, as `problem.target`,
that this correct solution need not reach on a GPU.
"""

import ast
import fnmatch
import re
import tomllib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.table import Language
from grader.assignment.target import CPU
from grader.errors import AuthorError
from grader.intake.submission import Origin, SourceFile, Submission
from grader.judge.judgement import Cause

CUDA_ENDING = ".cu"
_SETTING = re.compile(r"\w+\s*=")
HEADER_KEYS = {
    "base": str,
    "caught_by": str,
    "cause": str,
    "also_fails": list,
    "needs_review": list,
}
RIGHT_HEADER_KEYS = {"misses": list}
_BY_TEXT = frozenset("globals vars exec eval __import__ sys gc inspect".split())
"""Names through which code can reach other names of a module without writing them."""


class Kind(StrEnum):
    """What is known of a submission."""

    STARTER = "starter"
    SOLUTION = "solution"
    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSubmission:
    """One submission with its expected outcome.

    Attributes:
        name: file name, without its ending if that is Python's.
        path: its file, for messages.
        files: the sources as they are loaded in the sandbox, the entry first.
        affects: problems that it can change, if it is the solution with something appended.
        fails: checks that must fail, as `problem.check`; all others must pass.
        needs_review: targets that must need review; no other may.
        misses: targets that may fail or pass on a GPU, for a right submission.
        caught_by: the check whose cause is known; empty unless WRONG.
        causes: causes that `caught_by` may have; empty unless WRONG.
    """

    name: str
    kind: Kind
    path: Path
    files: tuple[SourceFile, ...]
    affects: frozenset[str]
    fails: frozenset[str] = frozenset()
    needs_review: frozenset[str] = frozenset()
    misses: frozenset[str] = frozenset()
    caught_by: str = ""
    causes: frozenset[Cause] = frozenset()

    def submission(self) -> Submission:
        """Return it as a submission."""
        made = Submission.of_files(f"{self.kind.value}-{self.name}", self.files)
        in_cuda = self.path.suffix == CUDA_ENDING
        return replace(made, origin=Origin.CUDA) if in_cuda else made


def load_known_submissions(loaded: LoadedAssignment) -> tuple[KnownSubmission, ...]:
    """Return every known submission of an assignment.

    Raises:
        AuthorError: naming the file and what is wrong with it.
    """
    criteria = {f"{p.name}.{c.name}": c.cases for p in loaded.plan.problems for c in p.criteria}
    problems = frozenset(problem.name for problem in loaded.plan.problems)
    _read(loaded.reference / "solution.py")
    found = [
        KnownSubmission(
            name="starter",
            kind=Kind.STARTER,
            path=loaded.folder / "starter.py",
            files=_alone(loaded.folder / "starter.py"),
            affects=problems,
            fails=frozenset(criteria),
        ),
        KnownSubmission(
            name="solution",
            kind=Kind.SOLUTION,
            path=loaded.reference / "solution.py",
            files=loaded.solution,
            affects=problems,
        ),
    ]
    in_cuda = Language.CUDA in loaded.assignment.languages
    if in_cuda:
        path = loaded.folder / f"starter{CUDA_ENDING}"
        found.append(replace(found[0], name=f"starter{CUDA_ENDING}", path=path, files=_alone(path)))
    endings = (".py", CUDA_ENDING) if in_cuda else (".py",)
    for path in _listed(loaded.reference / "right", endings):
        found.append(_read_right(path, loaded))
    for path in _listed(loaded.reference / "wrong", endings):
        found.append(_read_wrong(path, loaded, criteria))
    return tuple(found)


def _listed(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """Return the known submissions of a folder: those in Python first."""
    return [path for ending in endings for path in sorted(folder.glob(f"*{ending}"))]


def _name(path: Path) -> str:
    return path.name if path.suffix == CUDA_ENDING else path.stem


def _read(path: Path) -> str:
    if not path.is_file():
        raise AuthorError(f"{path}: not found", hint="`grader new-assignment` shows the layout")
    return path.read_text(encoding="utf-8")


def _alone(path: Path) -> tuple[SourceFile, ...]:
    return (SourceFile(name=f"submission{path.suffix}", text=_read(path)),)


def append(solution: tuple[SourceFile, ...], text: str) -> tuple[SourceFile, ...]:
    """Return the solution's files with the text appended to one of them.

    This is the first file that has one of the names that the text defines, or the entry if none
    has: code of `kernels/` uses a replaced function only if it is replaced in its own file.
    """
    new = _defined(text, imports=False)
    target = next((file for file in solution if new & _defined(file.text)), solution[0])
    return tuple(
        replace(file, text=f"{file.text}\n\n{text}") if file is target else file
        for file in solution
    )


def _defined(text: str, *, imports: bool = True) -> set[str]:
    """Return the names of a module; none if it cannot be parsed (importing it reports that)."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return set()
    counted = [n for n in body if imports or not isinstance(n, ast.Import | ast.ImportFrom)]
    return set().union(*(_bound(node) for node in counted))


def _read_right(path: Path, loaded: LoadedAssignment) -> KnownSubmission:
    text = _read(path)
    header = _header(path, text, RIGHT_HEADER_KEYS)
    slow = {
        f"{problem.name}.{target.name}"
        for problem in loaded.assignment.problems
        for target in problem.targets
        if CPU not in target.tiers
    }
    return KnownSubmission(
        name=_name(path),
        kind=Kind.RIGHT,
        path=path,
        files=_alone(path),
        affects=frozenset(problem.name for problem in loaded.plan.problems),
        misses=_read_targets(
            path, header, "misses", f"targets without a tier for `{CPU}`", among=slow
        ),
    )


def _read_wrong(
    path: Path, loaded: LoadedAssignment, criteria: Mapping[str, int]
) -> KnownSubmission:
    text = _read(path)
    header = _header(path, text, HEADER_KEYS)
    for key in ("caught_by", "cause"):
        if key not in header:
            raise AuthorError(f"{path}: the header has no {key!r}")
    in_cuda = path.suffix == CUDA_ENDING
    base = "none" if in_cuda else header.get("base", "solution")
    if base not in ("solution", "none"):
        raise AuthorError(f'{path}: base: expected "solution" or "none", found {base!r}')
    fails = _read_fails(path, header, criteria)
    known = {cause.value: cause for cause in Cause if cause is not Cause.NONE}
    causes = header["cause"].split(" or ")
    if unknown := [one for one in causes if one not in known]:
        expected = ", ".join(known)
        raise AuthorError(f"{path}: cause: expected one of {expected}, found {unknown[0]!r}")
    exports = {problem.name: problem.exports for problem in loaded.plan.problems}
    files, affects = _alone(path), frozenset(exports)
    if base == "solution":
        files = append(loaded.solution, text)
        affects = affected("\n\n".join(file.text for file in loaded.solution), text, exports)
    targets = {name for name, cases in criteria.items() if not cases}
    return KnownSubmission(
        name=_name(path),
        kind=Kind.WRONG,
        path=path,
        files=files,
        affects=affects,
        fails=fails,
        needs_review=_read_targets(
            path, header, "needs_review", "targets that do not fail", among=targets - fails
        ),
        caught_by=header["caught_by"],
        causes=frozenset(known[one] for one in causes),
    )


def _read_fails(
    path: Path, header: Mapping[str, Any], criteria: Mapping[str, int]
) -> frozenset[str]:
    """Return every check and target that must fail."""
    also = (name for one in header.get("also_fails", []) for name in _expand(one, criteria))
    fails = frozenset([header["caught_by"], *also])
    for name in sorted(fails - criteria.keys()):
        raise AuthorError(
            f"{path}: no check called {name!r}",
            hint=f"the checks are {', '.join(sorted(criteria))}",
        )
    return fails


def _read_targets(
    path: Path, header: Mapping[str, list[str]], key: str, expected: str, *, among: Set[str]
) -> frozenset[str]:
    """Return the targets that a key of the header names."""
    names = frozenset(header.get(key, []))
    for name in sorted(names - among):
        raise AuthorError(
            f"{path}: {key}: expected {expected}, found {name!r}",
            hint=f"they are {', '.join(sorted(among)) or 'none'}",
        )
    return names


def _expand(pattern: str, criteria: Mapping[str, int]) -> list[str]:
    """Return the checks that an entry of `also_fails` names; a pattern names no targets.

    `criteria` has the number of cases of each check and target.
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
    except (ValueError, RecursionError) as error:
        raise AuthorError(f"{path}: the header is not TOML: {error}") from error
    for key, value in header.items():
        if key not in keys:
            raise AuthorError(f"{path}: unknown header key {key!r}; allowed: {', '.join(keys)}")
        strings = keys[key] is not list or all(isinstance(one, str) for one in value)
        if type(value) is not keys[key] or not strings:
            wanted = "a string" if keys[key] is str else "a list of strings"
            raise AuthorError(f"{path}: {key}: expected {wanted}, found {value!r:.80}")
    return header


def affected(base: str, appended: str, exports: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Return the problems that may behave differently when a text is appended to the solution.

    Args:
        base: the solution's source, all of its files.
        appended: the text.
        exports: names of the submission that a problem calls, by problem.
    """
    everything = frozenset(exports)
    before, after = ast.parse(base).body, ast.parse(appended).body
    if not all(_is_definition(node) for node in after):
        return everything
    uses: dict[str, set[str]] = {}
    for node in (*before, *after):
        used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        if isinstance(node, ast.ImportFrom):  # another name for what a kernel's file defines
            used |= {alias.name for alias in node.names if alias.asname}
        if used & _BY_TEXT:
            return everything
        for name in _bound(node):
            uses.setdefault(name, set()).update(used)
    changed = {name for node in after for name in _bound(node)}
    return frozenset(
        problem for problem, names in exports.items() if _reached(names, uses) & changed
    )


def _is_definition(node: ast.stmt) -> bool:
    """Return whether a statement only binds names of the module."""
    match node:
        case ast.FunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Assign(targets=targets):
            return all(isinstance(target, ast.Name) for target in targets)
        case ast.AnnAssign(target=ast.Name()) | ast.Expr(value=ast.Constant()):  # a docstring
            return True
        case _:
            return False


def _bound(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds, also inside nested statements."""
    match node:
        case ast.FunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Import() | ast.ImportFrom():
            return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            parts = ast.walk(node)
            return {p.id for p in parts if isinstance(p, ast.Name) and isinstance(p.ctx, ast.Store)}
        case ast.Expr():
            return set()
        case _:
            inner = (part for part in ast.walk(node) if isinstance(part, ast.stmt))
            return set().union(*(_bound(part) for part in inner if _is_definition(part)))


def _reached(names: Iterable[str], uses: Mapping[str, set[str]]) -> set[str]:
    """Return the names, and all names that they use directly or indirectly."""
    reached: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += uses.get(name, ())
    return reached
