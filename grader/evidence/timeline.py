"""Timelines of ranks: when each called which collective, by its own account.

The values come from the recorder in the ranks (`runner.ranks.collectives`) and are accepted in
exactly its form and within fixed bounds. A submission could forge them, so they give no points.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from grader.assignment.steps import Value
from grader.evidence.faults import Fault, FaultKind, Stopped

MAX_ENTRIES = 512
MAX_NAME = 32
MAX_BYTES = 1 << 50
MAX_SPAN_NS = 600 * 10**9
"""Between the first and the last moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collective:
    """One call of a function of `torch.distributed`; times as in `RankTimeline`.

    Attributes:
        nbytes: bytes of its largest argument.
        launch_ns: when it was called.
        return_ns: when the call returned.
        end_ns: when the collective was complete; empty if that is unknown.
    """

    name: str
    nbytes: int
    launch_ns: int
    return_ns: int
    end_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span of time; times as in `RankTimeline`."""

    begin_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTimeline:
    """What one rank claims; times in nanoseconds since the first moment of any rank.

    Attributes:
        collectives: in the order of their calls.
        gradients_ns: when the gradient of each parameter was complete.
        left_out: how many entries were dropped because there were too many.
    """

    collectives: tuple[Collective, ...]
    gradients_ns: tuple[int, ...]
    backward: tuple[Span, ...]
    left_out: int


def read_timelines(values: Iterable[Value]) -> tuple[RankTimeline, ...]:
    """Return the timelines of all ranks; none if no rank recorded anything.

    Raises:
        Stopped: if a value does not have the recorder's form.
    """
    records = list(values)
    moments = [ns for record in records for ns in _moments(_read(record, 0))]
    if not moments:
        return ()
    first = min(moments)
    if max(moments) - first > MAX_SPAN_NS:
        _refuse("a time")
    return tuple(_read(record, first) for record in records)


def _read(record: Value, first: int) -> RankTimeline:
    """Return a rank's timeline; its times count from `first`."""
    keys = {"collectives", "gradients", "backward", "left_out"}
    if not isinstance(record, dict) or set(record) != keys:
        _refuse("a table")
    passes = [[_count(ns) for ns in _row(entry, 2)] for entry in _entries(record["backward"])]
    if any(begin > end for begin, end in passes):
        _refuse("a pass")
    return RankTimeline(
        collectives=tuple(_collective(entry, first) for entry in _entries(record["collectives"])),
        gradients_ns=tuple(_count(ns) - first for ns in _entries(record["gradients"])),
        backward=tuple(Span(begin_ns=begin - first, end_ns=end - first) for begin, end in passes),
        left_out=_count(record["left_out"]),
    )


def _collective(entry: Value, first: int) -> Collective:
    name, nbytes, launch, back, end = _row(entry, 5)
    if type(name) is not str or len(name) > MAX_NAME or not name.isidentifier():
        _refuse("a name")
    if _count(nbytes) > MAX_BYTES or not _count(launch) <= _count(back):
        _refuse("a collective")
    if end != -1 and _count(end) < launch:
        _refuse("an end")
    return Collective(
        name=name,
        nbytes=nbytes,
        launch_ns=launch - first,
        return_ns=back - first,
        end_ns=() if end == -1 else (end - first,),
    )


def _moments(timeline: RankTimeline) -> Iterable[int]:
    for one in timeline.collectives:
        yield from (one.launch_ns, one.return_ns, *one.end_ns)
    for span in timeline.backward:
        yield from (span.begin_ns, span.end_ns)
    yield from timeline.gradients_ns


def _entries(value: Value) -> list[Value]:
    if not isinstance(value, list) or len(value) > MAX_ENTRIES:
        _refuse("a list")
    return value


def _row(value: Value, length: int) -> list[Value]:
    if not isinstance(value, list) or len(value) != length:
        _refuse("an entry")
    return value


def _count(value: Value) -> int:
    if type(value) is not int or value < 0:
        _refuse("a number")
    return value


def _refuse(what: str) -> NoReturn:
    message = f"a rank's record of its collectives is invalid: {what} is not of the known form"
    raise Stopped(Fault(kind=FaultKind.BAD_REPLY, message=message))
