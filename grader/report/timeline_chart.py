"""What ranks say they did in one run: backward passes, gradients and collectives on one clock.

Takes: `RankTimeline`s. Gives: `Timeline`. Pure. Does not cover: drawing (see
`templates/pace.html.j2`). Places as in `strip_chart`.
"""

from dataclasses import dataclass

from grader.evidence.timeline import Collective, RankTimeline
from grader.report.axis import Tick, make_axis
from grader.report.quantities import bytes_text, time_text

TOP = 8.0
NAME_HEIGHT = 16.0
PASS_HEIGHT = 16.0
ROW_HEIGHT = 8.0
GAP = 12.0
MOST_ROWS = 32
"""Collectives of a rank that are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Something that took time.

    Attributes:
        x: where it begins, in percent.
        width: in percent.
        y: its upper edge, in pixels.
        blocked: width of the part during which the call had not come back, in percent.
        text: what it was.
    """

    x: float
    width: float
    y: float
    blocked: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RankLane:
    """One rank.

    Attributes:
        name: which one.
        y: height of its name, in pixels.
        passes_y: upper edge of its backward passes.
        passes: its backward passes.
        gradients: when a parameter's gradient was complete, in percent.
        collectives: below each other, in the order in which they were launched.
        text: the same in a sentence.
    """

    name: str
    y: float
    passes_y: float
    passes: tuple[Stretch, ...]
    gradients: tuple[float, ...]
    collectives: tuple[Stretch, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """All ranks below each other.

    Attributes:
        lanes: one per rank.
        ticks: along the bottom.
        bottom: height of the axis in pixels.
    """

    lanes: tuple[RankLane, ...]
    ticks: tuple[Tick, ...]
    bottom: float

    @property
    def text(self) -> str:
        """All of it in sentences."""
        return " ".join(lane.text for lane in self.lanes)


class _Across:
    """The axis of time, in a unit in which its ticks are round numbers."""

    def __init__(self, *, unit_ns: float, last_ns: int) -> None:
        self._unit_ns = unit_ns
        self._axis = make_axis((0.0, last_ns / unit_ns), is_log=False)

    def place(self, ns: int) -> float:
        return self._axis.place(ns / self._unit_ns)

    @property
    def ticks(self) -> tuple[Tick, ...]:
        return self._axis.ticks(lambda n: time_text(n * self._unit_ns) if n else "0")


def draw_timeline(ranks: tuple[RankTimeline, ...]) -> Timeline:
    """Place what each rank did."""
    last_ns = max(_last(rank) for rank in ranks)
    across = _Across(unit_ns=1e9 if last_ns > 50e6 else 1e6, last_ns=last_ns)
    lanes: list[RankLane] = []
    top = TOP
    for number, rank in enumerate(ranks):
        lanes.append(_draw_rank(rank, number, top, across))
        rows = min(len(rank.collectives), MOST_ROWS)
        top += NAME_HEIGHT + PASS_HEIGHT + rows * ROW_HEIGHT + GAP
    return Timeline(
        lanes=tuple(lanes),
        ticks=across.ticks,
        bottom=top,
    )


def describe_rank(rank: RankTimeline, number: int) -> str:
    """Return how much was launched before the backward pass had ended, and how much was left."""
    all_of_it = rank.collectives
    if not all_of_it:
        return f"Rank {number} launched nothing."
    total = f"{len(all_of_it)} {'collective' if len(all_of_it) == 1 else 'collectives'}"
    nbytes = sum(one.nbytes for one in all_of_it)
    if not rank.backward:
        return f"Rank {number}: {total}, {bytes_text(nbytes)}."
    end_ns = rank.backward[-1].end_ns
    early = [one for one in all_of_it if one.launch_ns < end_ns]
    left_ns = max(_end(one) - end_ns for one in all_of_it)
    ended = f"{time_text(left_ns)} after it" if left_ns > 0 else "before it ended"
    left_out = f" {rank.left_out} more entries found no room." if rank.left_out else ""
    drawn = f" The first {MOST_ROWS} are drawn." if len(all_of_it) > MOST_ROWS else ""
    return (
        f"Rank {number}: {len(early)} of {total}, {bytes_text(sum(o.nbytes for o in early))} of "
        f"{bytes_text(nbytes)}, were launched before its backward pass had ended; the last was "
        f"complete {ended}.{drawn}{left_out}"
    )


def _draw_rank(rank: RankTimeline, number: int, top: float, across: _Across) -> RankLane:
    passes_y = top + NAME_HEIGHT
    return RankLane(
        name=f"Rank {number}",
        y=top + NAME_HEIGHT - 5,
        passes_y=passes_y,
        passes=tuple(
            _stretch(across, one.begin_ns, one.end_ns, y=passes_y, text="backward pass")
            for one in rank.backward
        ),
        gradients=tuple(across.place(ns) for ns in rank.gradients_ns),
        collectives=tuple(
            _draw_collective(one, passes_y + PASS_HEIGHT + row * ROW_HEIGHT, across)
            for row, one in enumerate(rank.collectives[:MOST_ROWS])
        ),
        text=describe_rank(rank, number),
    )


def _draw_collective(one: Collective, y: float, across: _Across) -> Stretch:
    text = f"{one.name}, {bytes_text(one.nbytes)}, {time_text(_end(one) - one.launch_ns)}"
    blocked = across.place(one.return_ns) - across.place(one.launch_ns)
    return _stretch(across, one.launch_ns, _end(one), y=y, text=text, blocked=blocked)


def _stretch(
    across: _Across, begin_ns: int, end_ns: int, *, y: float, text: str, blocked: float = 0.0
) -> Stretch:
    x, end = across.place(begin_ns), across.place(end_ns)
    return Stretch(x=x, width=round(end - x, 2), y=y, blocked=round(blocked, 2), text=text)


def _end(one: Collective) -> int:
    return one.end_ns[0] if one.end_ns else one.return_ns


def _last(rank: RankTimeline) -> int:
    return max(
        (
            *(_end(one) for one in rank.collectives),
            *(one.return_ns for one in rank.collectives),
            *rank.gradients_ns,
            *(one.end_ns for one in rank.backward),
        ),
        default=0,
    )
