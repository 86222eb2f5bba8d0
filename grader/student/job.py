"""What passes between `grader check` and the interpreter that runs the student's code.

Takes: nothing. Gives: `ReplayJob` and `Event`, and their JSON. Does not cover: either side (see
`student.public_run` and `student.replay`).
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TypeVar

from grader.strict import json_converter
from grader.student.result import PublicCheck

T = TypeVar("T")

_CONVERTER = json_converter()


class EventKind(StrEnum):
    """What the interpreter has just reached; `SPAWNED` is nothing yet."""

    SPAWNED = "spawned"
    STARTED = "started"
    LOADED = "loaded"
    STEP = "step"
    CHECK = "check"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the events file.

    Attributes:
        kind: what was reached.
        problem: for a step, its problem.
        check: for a step, its check.
        doing: for a step, what is called.
        results: for a check, its one result.
    """

    kind: EventKind
    problem: str = ""
    check: str = ""
    doing: str = ""
    results: tuple[PublicCheck, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayJob:
    """What to run.

    Attributes:
        assignment: folder of the assignment.
        problems: names of the problems to run, in order.
        folder: folder that holds the student's module, and nothing else.
        entry: name of that module.
        display: the student's own name for it.
        cells: for a notebook, (cell, line) of each line of the module.
        events: file to append events to.
    """

    assignment: str
    problems: tuple[str, ...]
    folder: str
    entry: str
    display: str
    cells: tuple[tuple[int, int], ...]
    events: str


def to_line(record: Event | ReplayJob) -> str:
    """Return the record as one line of JSON."""
    return json.dumps(asdict(record)) + "\n"


def from_line(kind: type[T], line: str) -> T:
    """Return the record of class `kind` that `line` holds."""
    return _CONVERTER.structure(json.loads(line), kind)
