"""Makes targets and `TargetMeasurement`s of runs that never happened, from ratios and noise."""

from dataclasses import replace

import numpy as np

from grader.assignment.plan import PlannedTarget
from grader.assignment.table import Evidence
from grader.assignment.target import Clock, Quantity, Tier
from grader.evidence.device import DeviceState, ThrottleReasons
from grader.evidence.samples import (
    EmptyCalls,
    ForkSample,
    PairSample,
    RunSample,
    SizeWork,
    TargetMeasurement,
)

MS = 1_000_000
MIB = 1 << 20
CALLS = 10
EMPTY_NS = 100_000
EMPTY = EmptyCalls(
    wall_ns=tuple(EMPTY_NS + 100 * (n % 11 - 5) for n in range(110)),
    cpu_ns=tuple(20 * EMPTY_NS + 1000 * (n % 11 - 5) for n in range(11)),
    block=20,
)
TIER = Tier(pass_at=1.5, full_at=1.2)
GROWTH_TIER = Tier(pass_at=0.5, full_at=0.2, ratio_at_most=8)


def planned(quantity=Quantity.TIME, *, clock=Clock.CPU, sizes=(1,), tier=TIER):
    return PlannedTarget(
        name="target",
        title="As fast as the reference",
        description="",
        points=10,
        quantity=quantity,
        clock=clock,
        tiers=(tier,),
        sizes=sizes,
        tolerance={"float32": 1e-4},
        evidence=Evidence.OUTSIDE,
    )


def sample(net_ns=100 * MS, *, wall_ratio=1.0, calls=CALLS, peak_bytes=64 * MIB, traffic_bytes=0):
    """Return a run that took `net_ns` besides what its calls cost."""
    return RunSample(
        wall_ns=round(net_ns * wall_ratio) + calls * EMPTY_NS,
        cpu_ns=round(net_ns) + calls * EMPTY_NS,
        peak_bytes=round(peak_bytes),
        traffic_bytes=round(traffic_bytes),
        calls=calls,
    )


def pair(submission, reference, *, size=1, **changes):
    made = PairSample(
        size=size,
        submission_first=True,
        submission=submission,
        reference=reference,
        elapsed_ns=submission.wall_ns + reference.wall_ns,
        stolen_ns=0,
        foreign_ns=0,
    )
    return replace(made, **changes)


def measured(forks, *, work=(), metered=True, empty=EMPTY, **changes):
    made = TargetMeasurement(
        problem="problem",
        target="target",
        forks=tuple(forks),
        work=tuple(work),
        empty=empty,
        metered=metered,
        cores=2,
        observations=(),
        faults=(),
        reference_faults=(),
    )
    return replace(made, **changes)


def raced(
    *,
    forks=4,
    turns=4,
    sizes=(1,),
    ratio=1.0,
    exponent=0.0,
    noise=0.005,
    own_noise=None,
    wall_ratio=1.0,
    reference_ms=100,
    metered=True,
):
    """Return a race: the submission takes `ratio · (size / largest)^exponent` times as long.

    Args:
        noise: of the submission's forks, in logarithms.
        own_noise: of the reference's forks; default: the same.
        wall_ratio: the submission's wall time over its processor time.
    """
    rng = np.random.default_rng(7)

    def fork():
        pairs = []
        mine, own = rng.normal(0, (noise, noise if own_noise is None else own_noise))
        for _ in range(turns):
            for size in sizes:
                base_ns = reference_ms * MS * size / sizes[0]
                factor = ratio * (size / sizes[-1]) ** exponent * np.exp(mine)
                submission = sample(base_ns * factor, wall_ratio=wall_ratio)
                pairs.append(pair(submission, sample(base_ns * np.exp(own)), size=size))
        return ForkSample(pairs=tuple(pairs))

    return measured([fork() for _ in range(forks)], metered=metered)


def heated(race, numbers, reasons=ThrottleReasons.HW_THERMAL_SLOWDOWN):
    """Return a race in which the device throttled in the forks with these numbers."""
    state = DeviceState(reasons=reasons, sm_clock_mhz=1000, memory_clock_mhz=3201)

    def heat(fork):
        first, *rest = fork.pairs
        hot = replace(first, reference=replace(first.reference, states=(state,)))
        return ForkSample(pairs=(hot, *rest))

    forks = tuple(heat(f) if n in numbers else f for n, f in enumerate(race.forks))
    return replace(race, forks=forks)


def counted(*, ratio=1.0, traffic_ratio=1.0, forks=3):
    """Return a measurement of memory and traffic: one run per fork."""
    needed = 10 * MIB
    submission = sample(peak_bytes=ratio * 64 * MIB, traffic_bytes=traffic_ratio * needed)
    one = ForkSample(pairs=(pair(submission, sample()),))
    work = SizeWork(size=1, bytes_moved=0, flops=0, traffic_bytes=needed)
    return measured([one] * forks, work=(work,))
