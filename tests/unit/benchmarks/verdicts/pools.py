"""Pools of forks with a known truth, without a machine that is measured."""

import numpy as np

from benchmarks.verdicts.cells import Cell
from benchmarks.verdicts.neighbour import Neighbour
from benchmarks.verdicts.patterns import (
    CALLS_PER_RUN,
    PASS_AT,
    REFERENCE_UNITS,
    Pattern,
    Slowness,
    work_counts,
)
from grader.assignment.plan import PlannedTarget
from grader.assignment.table import Evidence
from grader.assignment.target import Clock, Quantity, Tier
from grader.evidence.samples import (
    EmptyCalls,
    ForkSample,
    PairSample,
    RunSample,
    TargetMeasurement,
)

UNIT_NS = 12_000

TARGET = PlannedTarget(
    name="time",
    title="time",
    description="",
    points=1.0,
    quantity=Quantity.TIME,
    clock=Clock.CPU,
    tiers=(Tier(pass_at=PASS_AT, full_at=1.0),),
    sizes=(CALLS_PER_RUN,),
    tolerance={},
    evidence=Evidence.OUTSIDE,
)


def cell(factor: float, pattern: Pattern = Pattern.STEADY) -> Cell:
    slowness = Slowness(factor=factor, pattern=pattern)
    return Cell(slowness=slowness, neighbour=Neighbour.NONE)


def chunks_of(of: Cell, *, noise: float = 0.01, chunks: int = 6) -> tuple[TargetMeasurement, ...]:
    """Chunks of four forks whose runs vary by `noise`, relative to their length."""
    rng = np.random.default_rng(7)
    counts = work_counts(of.slowness)

    def run(units: int) -> RunSample:
        spent_ns = round(units * UNIT_NS * rng.lognormal(0, noise))
        return RunSample(
            wall_ns=spent_ns + 50_000,
            cpu_ns=spent_ns,
            peak_bytes=0,
            traffic_bytes=0,
            calls=CALLS_PER_RUN,
        )

    def pair(first: int) -> PairSample:
        return PairSample(
            size=CALLS_PER_RUN,
            submission_first=first % 2 == 0,
            submission=run(sum(counts[first : first + CALLS_PER_RUN])),
            reference=run(REFERENCE_UNITS * CALLS_PER_RUN),
            elapsed_ns=80_000_000,
            stolen_ns=0,
            foreign_ns=0,
        )

    def chunk() -> TargetMeasurement:
        forks = tuple(
            ForkSample(pairs=tuple(pair(n) for n in range(0, len(counts), CALLS_PER_RUN)))
            for _ in range(4)
        )
        return TargetMeasurement(
            problem="double",
            target="time",
            forks=forks,
            work=(),
            empty=EmptyCalls(
                wall_ns=(90_000, 100_000, 110_000) * 80, cpu_ns=(4_000,) * 12, block=20
            ),
            metered=True,
            cores=2,
            observations=(),
            faults=(),
            reference_faults=(),
        )

    return tuple(chunk() for _ in range(chunks))
