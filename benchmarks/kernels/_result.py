"""What a run found: rows, goals, ceilings; and how it becomes JSON.

Takes: nothing. Gives: the records. Does not cover: making them (`_operation`), or pages of them
(`_table`, `_plot`).
"""

import json
from dataclasses import asdict, dataclass

import cattrs

from benchmarks.kernels._rounds import Interval

NOT_TIMED = (
    "these times mean nothing: the kernels ran in Triton's interpreter on the processor, at tiny "
    "sizes, to try the benchmark itself"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contender of one case.

    Attributes:
        operation: the kernel's file.
        shape: of the case.
        contender: the kernel, or a rival's name.
        seconds: median and interval.
        rounds: samples behind it.
        bytes_per_s: bytes that the work must move, over the median.
        flops_per_s: operations of the work, over the median.
        copy_share: bytes per second as a share of the copy's in the same rounds.
        roofline_share: the least time that the ceilings allow, over the median.
        kernel_speed: the contender's time over the kernel's, median and interval: above 1, the
            kernel is faster.
        error: largest difference from the kernel's result, relative to its largest element.
    """

    operation: str
    shape: str
    contender: str
    seconds: Interval
    rounds: int
    bytes_per_s: float
    flops_per_s: float
    copy_share: float
    roofline_share: float
    kernel_speed: Interval
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A rival that could not run, and what it said."""

    operation: str
    shape: str
    contender: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where a case stands under its roofline.

    Attributes:
        operation: the kernel's file.
        shape: of the case.
        bytes_moved: by the work.
        flops: of the work.
        ceiling_bytes_per_s: of the copy in the same rounds.
        ceiling_flops_per_s: of the product in the same rounds.
    """

    operation: str
    shape: str
    bytes_moved: int
    flops: int
    ceiling_bytes_per_s: float
    ceiling_flops_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a goal.

    Attributes:
        operation: the kernel's file.
        shape: of the case.
        goal: in words.
        word: "met", if the whole interval is; "missed"; or "not measured".
        metric: in words.
    """

    operation: str
    shape: str
    goal: str
    word: str
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that was found.

    Attributes:
        method: how it was timed.
        note: empty, or why the times mean nothing.
        rows: by case and contender.
        points: by case.
        outcomes: by goal.
        absent: rivals that could not run.
        broken: what failed, in words; empty if nothing did.
    """

    method: str
    note: str
    rows: tuple[Row, ...] = ()
    points: tuple[Point, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    absent: tuple[Absent, ...] = ()
    broken: tuple[str, ...] = ()


def merged(results: list[Result]) -> Result:
    """Return the findings of several runs as one; there is at least one."""
    first = results[0]
    return Result(
        method=first.method,
        note=first.note,
        rows=tuple(row for result in results for row in result.rows),
        points=tuple(point for result in results for point in result.points),
        outcomes=tuple(outcome for result in results for outcome in result.outcomes),
        absent=tuple(absent for result in results for absent in result.absent),
        broken=tuple(text for result in results for text in result.broken),
    )


def to_json(result: Result) -> dict[str, object]:
    """Return what `json.dumps` takes."""
    return asdict(result)


def from_json(text: str) -> Result:
    """Return the result that a run wrote.

    Raises:
        cattrs.BaseValidationError, ValueError: the text is no such result; our fault.
    """
    return cattrs.structure(json.loads(text)["result"], Result)
