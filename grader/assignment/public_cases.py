"""The recorded public cases of an assignment as they lie in its folder, and the names they have.

A recording is the JSON of `student.trace`, which says what each key means. Hidden cases are never
recorded, so nothing here can show one.
"""

import difflib
import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from grader.assignment.case_code import attribute_names, write_case_code
from grader.assignment.folders import find_assignment, harness_files
from grader.errors import AuthorError, UsageError
from grader.runner.protocol import ProtocolError

Json = Any  # what json.loads returns
T = TypeVar("T")

SCHEMA_VERSION = 1
PUBLIC_FOLDER = "public"

_NAME = re.compile(r"""['"]?(\w+)\.(\w+)(?:\[(\d+)\])?['"]?""")
_DAMAGED = (
    *(OSError, ValueError, RecursionError, KeyError, TypeError, IndexError, AttributeError),
    ProtocolError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseName:
    """The name of one public case; as text `KVCache.append_chunks[0]`."""

    problem: str
    check: str
    index: int

    def __str__(self) -> str:
        """Return the name as `grader check --show` takes it."""
        return f"{self.problem}.{self.check}[{self.index}]"


def read_public(assignment: Path, problem: str, convert: Callable[[Json], T]) -> T:
    """Return what `convert` makes of the recording of `problem`.

    Raises:
        AuthorError: if there is none, or it is damaged.
    """
    path = assignment / PUBLIC_FOLDER / f"{problem}.json"
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema_version {tree['schema_version']}, expected {SCHEMA_VERSION}")
        return convert(tree)
    except FileNotFoundError as error:
        hint = f"make the public cases with `grader release {assignment.name}`"
        raise AuthorError(f"{path}: not found", hint=hint) from error
    except _DAMAGED as error:
        hint = "install the assignment again, or make the file again with `grader release`"
        raise AuthorError(f"{path}: damaged: {type(error).__name__}: {error}", hint=hint) from error


def split_case_name(text: str) -> CaseName:
    """Return the name in `text`, such as `KVCache.append_chunks[0]`; without `[i]` it is case 0.

    Raises:
        UsageError: if the text has another form.
    """
    found = _NAME.fullmatch(text.strip())
    if found is None:
        hint = "write a name such as KVCache.append_chunks[0]"
        raise UsageError(f"{text!r} is not the name of a public case", hint=hint)
    return CaseName(problem=found[1], check=found[2], index=int(found[3] or 0))


def choose_case(text: str, known: tuple[CaseName, ...]) -> CaseName:
    """Return the one of the known cases that `text` names.

    Raises:
        UsageError: if there is none; the message has the nearest names, the hint all of them.
    """
    found = _NAME.fullmatch(text.strip())
    if found and (name := split_case_name(text)) in known:
        return name
    near = difflib.get_close_matches(text, map(str, known), n=3, cutoff=0.5)
    meant = f"; the nearest: {', '.join(near)}" if near else ""
    listed = ", ".join(map(str, known)) or "none"
    raise UsageError(f"no public case {text!r}{meant}", hint=f"the public cases are: {listed}")


def list_cases(assignment: Path, problems: tuple[str, ...]) -> tuple[CaseName, ...]:
    """Return the names of all public cases of some problems, in the order of the recordings.

    Raises:
        AuthorError: if a recording is missing or damaged.
    """

    def names(tree: Json) -> list[CaseName]:
        return [
            CaseName(problem=tree["problem"], check=check["name"], index=index)
            for check in tree["checks"]
            for index in range(len(check["instances"]))
        ]

    return tuple(name for problem in problems for name in read_public(assignment, problem, names))


def code_of_case(
    assignment: Path, name: CaseName, *, module: str = "", until: int | None = None
) -> str:
    """Return the calls of a public case as Python that can be pasted.

    Args:
        assignment: folder of the assignment.
        name: of the case.
        module: the student's module, to import from; empty in a notebook.
        until: number of steps to show; None shows all.

    Raises:
        AuthorError: if the recording is missing or damaged.
    """

    def write(tree: Json) -> str:
        (check,) = (one for one in tree["checks"] if one["name"] == name.check)
        steps = check["instances"][name.index][:until]
        opening = f'case("{name.problem}.{name.check}", {name.index})'
        return write_case_code(steps, opening, _attributes(assignment), module=module)

    return read_public(assignment, name.problem, write)


@functools.lru_cache(maxsize=1024)  # a class fails the same cases
def code_of_graded_case(slug: str, assignment_sha256: str, name: CaseName, *, module: str) -> str:
    """Return the calls of a public case of a graded assignment; empty unless just that is here."""
    try:
        folder = find_assignment(slug)
        if _hash_of(folder) != assignment_sha256:
            return ""
        return code_of_case(folder, name, module=module)
    except (AuthorError, UsageError, OSError):
        return ""  # the page has the name of the case all the same


@functools.cache
def _attributes(assignment: Path) -> frozenset[str]:
    starter = assignment / "starter.py"
    texts = [starter.read_text(encoding="utf-8")] if starter.is_file() else []
    return attribute_names([*texts, *(file.text for file in harness_files(assignment))])


@functools.cache
def _hash_of(folder: Path) -> str:
    from grader.assignment.plan import hash_folder  # imports torch, which takes seconds

    return hash_folder(folder, harness_files(folder))
