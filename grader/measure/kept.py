"""Which forks count, and which waits: decided on evidence from outside, never the submission's.

Takes: forks. Gives: the forks that are judged, and which are not; forks without waits that others
explain. Pure. Does not cover: what is computed from them.

Whole forks are left out, never a pair by itself: a submission that is fast only at first would be
judged by those of its pairs that are left, and the smaller sums of forks with fewer pairs would
look like noise of the reference. Nor is a slow run of the reference a reason: leaving it out, and
not the submission's, moves the ratio against the student.
"""

from dataclasses import replace

from grader.measure.samples import ForkSample, PairSample

MOST_DISCARDED = 0.2
"""Share of the forks that may be left out; beyond it a noisy run is judged as it is."""
STOLEN_SHARE = 0.05
"""Processor time that the hypervisor took, as a share of the fork's time, that disturbs."""


def kept_forks(forks: tuple[ForkSample, ...]) -> tuple[ForkSample, ...]:
    """Return the forks without those that the hypervisor disturbed most."""
    gone = left_out(forks)
    return tuple(fork for number, fork in enumerate(forks) if number not in gone)


def left_out(forks: tuple[ForkSample, ...]) -> tuple[int, ...]:
    """Return the places of the forks that are not counted, ascending."""
    stolen = {number: _stolen(fork) for number, fork in enumerate(forks)}
    disturbed = [number for number, share in stolen.items() if share > STOLEN_SHARE]
    worst = sorted(disturbed, key=lambda number: -stolen[number])
    return tuple(sorted(worst[: int(MOST_DISCARDED * len(forks))]))


def unhindered(fork: ForkSample, processors: int) -> ForkSample:
    """Return the fork without the time in which the submission may have waited for a processor.

    Nobody waits while a processor is free, so at most what others used, or the hypervisor took,
    divided by the number of processors. Time that it computed in itself is never taken off.
    """
    return ForkSample(pairs=tuple(_unhindered(pair, processors) for pair in fork.pairs))


def _unhindered(pair: PairSample, processors: int) -> PairSample:
    run = pair.subject
    waited_ns = (pair.foreign_ns + pair.stolen_ns) // processors
    wall_ns = max(run.wall_ns - waited_ns, min(run.wall_ns, run.cpu_ns))
    return replace(pair, subject=replace(run, wall_ns=wall_ns))


def _stolen(fork: ForkSample) -> float:
    elapsed_ns = sum(pair.elapsed_ns for pair in fork.pairs)
    return sum(pair.stolen_ns for pair in fork.pairs) / max(elapsed_ns, 1)
