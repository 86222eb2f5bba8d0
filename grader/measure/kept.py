"""Which forks count, and which waits: decided on evidence from outside, never the submission's.

Takes: forks. Gives: the forks that are judged, and which are not; forks without waits that others
explain. Pure. Does not cover: what is computed from them.

Whole forks are left out, never a pair by itself: a submission that is fast only at first would be
judged by those of its pairs that are left, and the smaller sums of forks with fewer pairs would
look like noise of the reference. Nor is a slow run of the reference a reason: leaving it out, and
not the submission's, moves the ratio against the student.

On a device the reasons are the hypervisor's and the device's own, which held it back by heat, by
its power supply or by another device (see `device.throttle`). No verdict on time stands on a fork
in which it was: beyond the share that may be left out there is none.
"""

from dataclasses import replace

from grader.device.throttle import DeviceState, disturbance
from grader.measure.samples import ForkSample, PairSample

MOST_DISCARDED = 0.2
"""Share of the forks that may be left out; beyond it a noisy run is judged as it is, and one on a
device that was held back is not judged."""
STOLEN_SHARE = 0.05
"""Processor time that the hypervisor took, as a share of the fork's time, that disturbs."""


def kept_forks(forks: tuple[ForkSample, ...]) -> tuple[ForkSample, ...]:
    """Return the forks without those that were disturbed most."""
    gone = left_out(forks)
    return tuple(fork for number, fork in enumerate(forks) if number not in gone)


def left_out(forks: tuple[ForkSample, ...]) -> tuple[int, ...]:
    """Return the places of the forks that are not counted, ascending."""
    shares = {n: (_throttled(fork), _stolen(fork)) for n, fork in enumerate(forks)}
    disturbed = [n for n, (held, stolen) in shares.items() if held or stolen > STOLEN_SHARE]
    worst = sorted(disturbed, key=lambda number: shares[number], reverse=True)
    return tuple(sorted(worst[: most_left_out(len(forks))]))


def most_left_out(forks: int) -> int:
    """Return how many of so many forks may be left out."""
    return int(MOST_DISCARDED * forks)


def throttled(forks: tuple[ForkSample, ...]) -> tuple[int, ...]:
    """Return the places of the forks in which the device was held back, ascending."""
    return tuple(number for number, fork in enumerate(forks) if _throttled(fork))


def held_back(forks: tuple[ForkSample, ...]) -> str:
    """Return the evidence that forks which count were disturbed; empty if none was."""
    counted = set(throttled(forks)) - set(left_out(forks))
    if not counted:
        return ""
    reasons = disturbance(s for n in counted for pair in forks[n].pairs for s in _states(pair))
    return f"{reasons} in {len(throttled(forks))} of {len(forks)} forks"


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


def _throttled(fork: ForkSample) -> float:
    """Return the share of a fork's pairs in which the device was held back."""
    held = sum(bool(disturbance(_states(pair))) for pair in fork.pairs)
    return held / max(len(fork.pairs), 1)


def _states(pair: PairSample) -> tuple[DeviceState, ...]:
    return pair.subject.states + pair.reference.states


def _stolen(fork: ForkSample) -> float:
    elapsed_ns = sum(pair.elapsed_ns for pair in fork.pairs)
    return sum(pair.stolen_ns for pair in fork.pairs) / max(elapsed_ns, 1)
