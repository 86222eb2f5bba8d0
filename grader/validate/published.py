"""Checks what students get: that it is up to date, and that the public cases show enough.

Public cases and starters are made by `grader release` from the cases, the oracle and `starter.py`;
whoever forgets it hands out those of yesterday. And a hidden case that asks for what no public case
asks for (a dtype, a view, an empty tensor, None) fails work that nobody could have tried.
"""

import importlib.util
import json
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from grader.assignment.declare import RowMaker
from grader.assignment.loaded import LoadedAssignment
from grader.assignment.public_cases import PUBLIC_FOLDER
from grader.assignment.steps import Call, Each, New, On, Raises, Ref, Step, Value
from grader.correctness.instances import Instance
from grader.cuda_cpp.header import STARTER, write_starter
from grader.errors import AuthorError
from grader.release.record_public import difference, record_public

NOTEBOOK = "starter.ipynb"
MOST_NAMED = 4
"""Missing kinds of arguments that a complaint names."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of argument, such as float16 as argument 1 of append."""

    callee: str
    argument: str
    what: str


def kinds_of(step: Step) -> Iterator[Kind]:
    """Yield the kinds of all arguments that a step passes."""
    match step:
        case Raises() | On():
            yield from kinds_of(step.step)
        case Each():
            for one in step.steps:
                yield from kinds_of(one)
        case New() | Call():
            callee = step.name if isinstance(step, New) else step.method or str(step.target)
            given = [(f"argument {number}", value) for number, value in enumerate(step.args, 1)]
            given += [(f"`{name}`", value) for name, value in step.kwargs.items()]
            for argument, value in given:
                for what in _kinds(value):
                    yield Kind(callee, argument, what)


def _kinds(value: Value) -> Iterator[str]:
    match value:
        case torch.Tensor():
            yield str(value.dtype).removeprefix("torch.")
            if not value.numel():
                yield "an empty tensor"
            elif not value.is_contiguous():  # a contiguous one is the usual one
                yield "a strided tensor"
        case list() | tuple() | dict():
            items = list(value.values() if isinstance(value, dict) else value)
            if not items:
                yield f"an empty {type(value).__name__}"
            for item in items:
                yield from _kinds(item)
        case torch.dtype():
            yield f"{value} itself"
        case Ref():
            yield "an object"
        case None:
            yield "None"
        case _:
            yield f"a number or text of type {type(value).__name__}"


@dataclass(slots=True)
class Cover:
    """The kinds of arguments that the cases of each check pass.

    A check of one thing must show each kind for each argument. One with factors passes every kind
    in every place, more than a few public rows can show; so it is enough that some public case of
    its problem passes the kind to the same function or class.

    Attributes:
        public: those of public cases, by check.
        hidden: those of hidden cases, by check, each with the first case that passes one.
        wide: the checks with factors.
    """

    public: dict[str, set[Kind]] = field(default_factory=lambda: defaultdict(set))
    hidden: dict[str, dict[Kind, str]] = field(default_factory=lambda: defaultdict(dict))
    wide: set[str] = field(default_factory=set)

    def watch(self, instance: Instance, step: Step) -> None:
        """Note the kinds of arguments of a step of a case."""
        check = f"{instance.maker.problem}.{instance.maker.check}"
        if isinstance(instance.maker, RowMaker):
            self.wide.add(check)
        for kind in kinds_of(step):
            if instance.public:
                self.public[check].add(kind)
            else:
                seed = f"hidden case {instance.index} under seed {instance.plan.seed}"
                self.hidden[check].setdefault(kind, seed)

    def complaints(self) -> list[str]:
        """Return a complaint for every check whose public cases leave out a kind of argument."""
        found = []
        for check, hidden in self.hidden.items():
            missing: dict[tuple[str, str, str], list[str]] = defaultdict(list)
            for kind, who in hidden.items():
                if not self._shows(check, kind):
                    missing[kind.what, kind.callee, who].append(kind.argument)
            if missing:
                listed = [
                    f"{what} as {' and '.join(arguments)} of {callee} ({who})"
                    for (what, callee, who), arguments in missing.items()
                ]
                if len(listed) > MOST_NAMED:
                    listed[MOST_NAMED:] = [f"{len(listed) - MOST_NAMED} more"]
                whose = "problem" if check in self.wide else "check"
                found.append(
                    f"{check}: hidden cases pass what no public case of the {whose} passes, so "
                    f"students cannot try it: {'; '.join(listed)}. Raise `public` of its case, or "
                    "change what `draw.index` chooses"
                )
        return found

    def _shows(self, check: str, kind: Kind) -> bool:
        """Return whether public cases show a kind that a hidden case of `check` passes."""
        if check not in self.wide:
            return kind in self.public[check]
        problem = check.partition(".")[0] + "."
        return any(
            (shown.callee, shown.what) == (kind.callee, kind.what)
            for name, kinds in self.public.items()
            if name.startswith(problem)
            for shown in kinds
        )


def find_stale(loaded: LoadedAssignment) -> list[str]:
    """Return a complaint for every file of students that `grader release` would write otherwise.

    The public cases are played on the solution again, and compared apart from rounding.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries
        return [*_stale_recordings(loaded), *_stale_starters(loaded)]


def _stale_recordings(loaded: LoadedAssignment) -> Iterator[str]:
    folder, slug = loaded.folder / PUBLIC_FOLDER, loaded.assignment.slug
    try:
        recorded = record_public(loaded.folder, loaded.reference)
    except AuthorError as error:
        yield f"{error}; {error.hint}" if error.hint else str(error)
        return
    for name, text in recorded.items():
        why = _differs(folder / name, json.loads(text))
        if why:
            yield f"{folder / name}: {why}; `grader release {slug}` makes it again"
    for path in sorted(folder.glob("*.json")):
        if path.name not in recorded:
            gone = f"no problem of this assignment is called {path.stem}"
            yield f"{path}: {gone}; `grader release {slug}` deletes it"


def _stale_starters(loaded: LoadedAssignment) -> Iterator[str]:
    stale = {}
    try:
        if can_make_notebooks():
            stale[NOTEBOOK] = _notebook_is_stale(loaded.folder)
        if loaded.assignment.launchers:
            made = write_starter(loaded.assignment, loaded.folder)
            stale[STARTER] = _text_of(loaded.folder / STARTER) != made
    except AuthorError as error:
        yield f"{loaded.folder}: {error}; {error.hint}" if error.hint else str(error)
    for name, is_stale in stale.items():
        if is_stale:
            yield (
                f"{loaded.folder / name}: not made from the starter and the table as they are now; "
                f"`grader release {loaded.assignment.slug}` makes it again"
            )


def can_make_notebooks() -> bool:
    """Return whether this installation can make notebooks (the extra `author`)."""
    return importlib.util.find_spec("jupytext") is not None


def _differs(path: Path, now: object) -> str:
    """Return how a file of public cases differs from what is recorded now; empty if it does not."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "not found"
    except (OSError, ValueError) as error:
        return f"cannot be read ({error})"
    where = difference(before, now)
    return f"not what the cases and the oracle give now ({where})" if where else ""


def _notebook_is_stale(folder: Path) -> bool:
    """Compare the cells: other versions of the tools may write other metadata."""
    from grader.release.bundle import notebook_of  # needs what only authors install

    made = notebook_of(_text_of(folder / "starter.py"))
    try:
        return _cells(_text_of(folder / NOTEBOOK)) != _cells(made)
    except (ValueError, KeyError, TypeError, AttributeError):
        return True


def _cells(text: str) -> list[tuple[str, str, list[str]]]:
    """Return kind, text and tags of each cell."""
    return [
        (cell["cell_type"], "".join(cell["source"]), cell["metadata"].get("tags", []))
        for cell in json.loads(text)["cells"]
    ]


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
