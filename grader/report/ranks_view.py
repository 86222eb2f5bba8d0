"""What a target over ranks shows besides its figures: bytes against theory, memory by rank.

Takes: a target's measurement, the forks that count. Gives: `RanksTable`s. Pure. Does not cover:
figures and pictures (see `pace_view`, `pace_chart`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from grader.evidence.samples import ForkSample, RunSample, TargetMeasurement
from grader.performance.decide.interval import Kind
from grader.report.hostile_text import make_legible
from grader.report.quantities import bytes_text, ratio_text

HEADER_TEXT = (
    "Counted on the loopback of the group's own network, outside all ranks, headers and "
    "acknowledgements of TCP included (0.2 % of large messages)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RanksTable:
    """A small table.

    Attributes:
        caption: what it shows.
        head: titles of its columns.
        rows: its cells, the first one being the row's title.
        note: what to know of the numbers.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str

    @property
    def line(self) -> str:
        """The table as one line: each row's title, then its cells with their titles."""
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
    """Return the tables of a target that is decided by a figure of `kind`; most have none."""
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
        "Theory": float(work.traffic_bytes),
        "Reference": _mean(forks, measured.net_traffic_bytes, submission=False),
        "Yours": _mean(forks, measured.net_traffic_bytes, submission=True),
    }
    rows = tuple(
        (name, bytes_text(amount), ratio_text(amount / max(work.traffic_bytes, 1)))
        for name, amount in sides.items()
    )
    derivation = make_legible(work.derivation)
    idle = measured.empty.traffic_bytes
    silent = f" An idle group put {idle:,} bytes on it, which are taken off." if idle else ""
    return RanksTable(
        caption="Bytes on the wire per run, over all ranks",
        head=("", "Bytes", "To theory"),
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
            bytes_text(_mean(forks, peak(rank), submission=True)),
            bytes_text(_mean(forks, peak(rank), submission=False)),
        )
        for rank in range(count)
    )
    return RanksTable(
        caption="Peak memory of each rank",
        head=("", "Yours", "Reference"),
        rows=rows,
        note="The rank that holds most decides. Each has a control group of its own.",
    )


def _mean(
    forks: tuple[ForkSample, ...], amount: Callable[[RunSample], float], *, submission: bool
) -> float:
    runs = [
        pair.submission if submission else pair.reference for fork in forks for pair in fork.pairs
    ]
    return sum(amount(run) for run in runs) / max(len(runs), 1)
