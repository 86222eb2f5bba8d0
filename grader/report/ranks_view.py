"""What a target over several ranks shows besides its metrics: two tables and a timeline.

The tables compare the bytes that were sent with theory, and list the memory of each rank. The
timeline shows backward passes, gradients and collectives, as the ranks recorded them in one run.
`templates/target.html.j2` draws it; positions are in percent of the width, heights in pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

from grader.evidence.samples import ForkSample, RunSample, TargetMeasurement
from grader.evidence.timeline import Collective, RankTimeline
from grader.performance.decide.interval import Kind
from grader.report.axis import Tick, make_axis
from grader.report.hostile_text import make_legible
from grader.report.messages import bytes_text, ratio_text, time_text

HEADER_TEXT = (
    "Counted on the loopback interface of the ranks' own network, outside all ranks. The headers "
    "and acknowledgements of TCP are included (0.2 % of large messages)."
)
TOP = 8.0
NAME_HEIGHT = 16.0
PASS_HEIGHT = 16.0
ROW_HEIGHT = 8.0
GAP = 12.0
MOST_ROWS = 32
"""Collectives of a rank that are drawn."""
_Position = Callable[[int], float]
"""The position of a time in nanoseconds, in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RanksTable:
    """A small table; the first cell of a row is its title, the note says how it was measured."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str

    @property
    def line(self) -> str:
        """The table as one line of text: each row's title, then its cells with their columns."""
        texts = (
            f"{row[0]} "
            + ", ".join(
                f"{cell} ({title.lower()})"
                for title, cell in zip(self.head[1:], row[1:], strict=True)
            )
            for row in self.rows
        )
        return f"{self.caption}: {'; '.join(texts)}. {self.note}"


def rank_tables(
    kind: Kind, measured: TargetMeasurement, forks: tuple[ForkSample, ...]
) -> tuple[RanksTable, ...]:
    """Return the tables of a target whose points depend on `kind`; most targets have none."""
    if not forks:
        return ()
    if kind is Kind.TRAFFIC:
        return (_traffic_table(measured, forks),)
    if kind is Kind.MEMORY and all(p.submission.rank_peak_bytes for f in forks for p in f.pairs):
        return (_memory_table(forks),)
    return ()


def _traffic_table(measured: TargetMeasurement, forks: tuple[ForkSample, ...]) -> RanksTable:
    work = measured.work[-1]
    sides = {
        "Theory": work.traffic_bytes,
        "Reference": _mean(forks, measured.net_traffic_bytes, submission=False),
        "Yours": _mean(forks, measured.net_traffic_bytes, submission=True),
    }
    rows = tuple(
        (name, bytes_text(amount), ratio_text(amount / max(work.traffic_bytes, 1)))
        for name, amount in sides.items()
    )
    derivation = make_legible(work.derivation)
    idle = measured.empty.traffic_bytes
    silent = f" The {idle:,} bytes that idle ranks send are subtracted." if idle else ""
    return RanksTable(
        caption="Bytes sent per run, all ranks together",
        head=("", "Bytes", "Times theory"),
        rows=rows,
        note=f"Theory: {derivation}. {HEADER_TEXT}{silent}" if derivation else HEADER_TEXT,
    )


def _memory_table(forks: tuple[ForkSample, ...]) -> RanksTable:
    last = forks[-1].pairs[-1]
    count = min(len(last.submission.rank_peak_bytes), len(last.reference.rank_peak_bytes))

    def peak(rank: int) -> Callable[[RunSample], float]:
        return lambda run: (*run.rank_peak_bytes, *([0] * count))[rank]

    rows = tuple(
        (
            f"Rank {rank}",
            *(bytes_text(_mean(forks, peak(rank), submission=side)) for side in (True, False)),
        )
        for rank in range(count)
    )
    return RanksTable(
        caption="Peak memory of each rank",
        head=("", "Yours", "Reference"),
        rows=rows,
        note="The rank with the highest peak decides. Each rank is measured by its own cgroup.",
    )


def _mean(
    forks: tuple[ForkSample, ...], amount: Callable[[RunSample], float], *, submission: bool
) -> float:
    runs = [
        pair.submission if submission else pair.reference for fork in forks for pair in fork.pairs
    ]
    return sum(amount(run) for run in runs) / max(len(runs), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Something that took time, as a bar.

    Attributes:
        y: its upper edge.
        blocked: width of the part before the call returned.
    """

    x: float
    width: float
    y: float
    blocked: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RankLane:
    """What one rank did.

    Attributes:
        y: height of its name.
        passes_y: upper edge of its backward passes.
        gradients: when a parameter's gradient was complete.
        collectives: one below the other, in the order of their launch.
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
    """All ranks, one below the other; `bottom` is the height of the axis."""

    lanes: tuple[RankLane, ...]
    ticks: tuple[Tick, ...]
    bottom: float


def draw_timeline(ranks: tuple[RankTimeline, ...]) -> Timeline:
    """Return the timeline of all ranks."""
    last_ns = max(_last(rank) for rank in ranks)
    unit_ns = 1e9 if last_ns > 50e6 else 1e6  # makes the ticks round numbers
    axis = make_axis((0.0, last_ns / unit_ns), is_log=False)

    def position(ns: int) -> float:
        return axis.position(ns / unit_ns)

    lanes: list[RankLane] = []
    top = TOP
    for number, rank in enumerate(ranks):
        lanes.append(_draw_rank(rank, number, top, position))
        rows = min(len(rank.collectives), MOST_ROWS)
        top += NAME_HEIGHT + PASS_HEIGHT + rows * ROW_HEIGHT + GAP
    ticks = axis.ticks(lambda n: time_text(n * unit_ns) if n else "0")
    return Timeline(lanes=tuple(lanes), ticks=ticks, bottom=top)


def describe_rank(rank: RankTimeline, number: int) -> str:
    """Return how much a rank sent during its backward pass, and when the last call ended."""
    calls = rank.collectives
    if not calls:
        return f"Rank {number} called no collective."
    total = f"{len(calls)} {'collective' if len(calls) == 1 else 'collectives'}"
    nbytes = sum(one.nbytes for one in calls)
    if not rank.backward:
        return f"Rank {number}: {total}, {bytes_text(nbytes)}."
    end_ns = rank.backward[-1].end_ns
    early = [one for one in calls if one.launch_ns < end_ns]
    left_ns = max(_end(one) - end_ns for one in calls)
    ended = f"{time_text(left_ns)} after that" if left_ns > 0 else "before that"
    left_out = f" {rank.left_out} more entries were not recorded." if rank.left_out else ""
    drawn = f" The first {MOST_ROWS} are drawn." if len(calls) > MOST_ROWS else ""
    return (
        f"Rank {number}: {len(early)} of {total}, {bytes_text(sum(o.nbytes for o in early))} of "
        f"{bytes_text(nbytes)}, started before its backward pass ended; the last one was complete "
        f"{ended}.{drawn}{left_out}"
    )


def _draw_rank(rank: RankTimeline, number: int, top: float, position: _Position) -> RankLane:
    passes_y = top + NAME_HEIGHT
    return RankLane(
        name=f"Rank {number}",
        y=top + NAME_HEIGHT - 5,
        passes_y=passes_y,
        passes=tuple(
            _stretch(position, one.begin_ns, one.end_ns, y=passes_y, text="backward pass")
            for one in rank.backward
        ),
        gradients=tuple(position(ns) for ns in rank.gradients_ns),
        collectives=tuple(
            _draw_collective(one, passes_y + PASS_HEIGHT + row * ROW_HEIGHT, position)
            for row, one in enumerate(rank.collectives[:MOST_ROWS])
        ),
        text=describe_rank(rank, number),
    )


def _draw_collective(one: Collective, y: float, position: _Position) -> Stretch:
    text = f"{one.name}, {bytes_text(one.nbytes)}, {time_text(_end(one) - one.launch_ns)}"
    blocked = position(one.return_ns) - position(one.launch_ns)
    return _stretch(position, one.launch_ns, _end(one), y=y, text=text, blocked=blocked)


def _stretch(
    position: _Position, begin_ns: int, end_ns: int, *, y: float, text: str, blocked: float = 0.0
) -> Stretch:
    x, end = position(begin_ns), position(end_ns)
    return Stretch(x=x, width=round(end - x, 2), y=y, blocked=round(blocked, 2), text=text)


def _end(one: Collective) -> int:
    return one.end_ns[0] if one.end_ns else one.return_ns


def _last(rank: RankTimeline) -> int:
    calls = (max(_end(one), one.return_ns) for one in rank.collectives)
    return max((*calls, *rank.gradients_ns, *(one.end_ns for one in rank.backward)), default=0)
