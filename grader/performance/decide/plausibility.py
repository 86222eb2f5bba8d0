"""Bounds that no honest measurement breaks: the roofline, counted bytes, claimed processor time.

Input: a `TargetMeasurement`. Output: evidence of broken bounds, one sentence each. What follows (a
person reviews the points) is decided in `judge.targets`.
"""

from grader.assignment.target import CPU
from grader.errors import AuthorError
from grader.evidence.device import Ceilings
from grader.evidence.samples import RunSample, SizeWork, TargetMeasurement
from grader.performance.decide.event_claims import calibrate, check_claim
from grader.performance.decide.interval import Roofline
from grader.performance.decide.totals import runs_of

SLACK = 0.15
"""How far below the roofline floor, as a share, a time may lie before it is called impossible.

Measured: two measurements of a ceiling differ by a few per cent, and zeros ran up to 13 % faster on
a device than the random data that ceilings are measured with.
"""


def floor_ns(bytes_moved: int, flops: int, ceilings: Ceilings, *, dtype: str = "") -> float:
    """Return the roofline floor in ns: the least time for bytes and operations, done at once.

    Args:
        bytes_moved: the fewest that must move: each input read once, each output written once.
        flops: the fewest floating-point operations.
        ceilings: of the device.
        dtype: of the operations, without `torch.`; if empty, the fastest dtype's rate counts.

    Raises:
        AuthorError: if a count is negative.

    Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for
    multicore architectures", Communications of the ACM 52(4), 2009.
    """
    if bytes_moved < 0 or flops < 0:
        raise AuthorError(
            f"a case counts {bytes_moved} bytes and {flops} operations; expected no negative count"
        )
    seconds = max(bytes_moved / ceilings.bytes_per_s, flops / ceilings.flops_per_s(dtype))
    return seconds * 1e9


def beats_floor(time_ns: float, floor: float, *, slack: float = SLACK) -> str:
    """Return the evidence that a time in ns is impossible; empty if it is possible."""
    if time_ns >= floor * (1 - slack):
        return ""
    return (
        f"{time_ns / 1e3:.3f} us is below the roofline floor of {floor / 1e3:.3f} us "
        f"(slack {slack:.0%})"
    )


METER_SLACK = 0.1
"""Share by which counters of processor time may exceed the clock."""
METER_GRAIN_NS = 20_000_000
"""Resolution of the coarsest counter of processor time: two ticks of 10 ms.
Source: time(7), USER_HZ is 100 on most systems."""
MIN_TRAFFIC_SHARE = 0.95
"""Share of the bytes that must cross the network; with less, data was exchanged in another way."""


def broken_bounds(measured: TargetMeasurement) -> tuple[str, ...]:
    """Return the evidence of every broken bound; empty if the measurement is plausible."""
    found: list[str] = []
    for work in measured.work:
        runs = _runs(measured, work.size, submission=True)
        floor = _floor_ns(measured, work)
        if floor and runs:
            evidence = beats_floor(float(min(_shortest_ns(run) for run in runs)), floor)
            if evidence:
                found.append(f"at size {work.size}: {evidence}")
    found += _broken_claims(measured)
    found += _missing_traffic(measured)
    for fork in measured.forks:
        for pair in fork.pairs:
            most_ns = pair.elapsed_ns * measured.cores * (1 + METER_SLACK) + METER_GRAIN_NS
            if pair.submission.cpu_ns > most_ns:
                found.append(
                    f"at size {pair.size}: {pair.submission.cpu_ns / 1e6:.1f} ms of processor time "
                    f"in {pair.elapsed_ns / 1e6:.1f} ms on {measured.cores} processors"
                )
    return tuple(found)


def _missing_traffic(measured: TargetMeasurement) -> list[str]:
    """Return the sizes at which fewer bytes crossed the network than must.

    Nothing is taken off for null calls: their traffic varies, and may be more than a whole run's.
    """
    if not measured.metered:
        return []
    found: list[str] = []
    for work in measured.work:
        runs = _runs(measured, work.size, submission=True)
        least = min((run.traffic_bytes for run in runs), default=work.traffic_bytes)
        if least < MIN_TRAFFIC_SHARE * work.traffic_bytes:
            found.append(
                f"at size {work.size}: too little network traffic: {least:,} bytes crossed the "
                f"network, at least {work.traffic_bytes:,} must"
            )
    return found


def _broken_claims(measured: TargetMeasurement) -> list[str]:
    """Return the event times, claimed by a worker on a device, that its calls cannot have taken."""
    found: list[str] = []
    for run in (pair.submission for fork in measured.forks for pair in fork.pairs):
        for empty in (measured.empty, *measured.transfers):
            claims = [c for c in run.claims if measured.empty_for(c.transfer_bytes) is empty]
            if not claims:
                continue
            claimed = [claim.events_ns[0] if claim.events_ns else None for claim in claims]
            walls_ns = [claim.wall_ns for claim in claims]
            found.append(check_claim(claimed, walls_ns, calibrate(empty.wall_ns)))
    return [evidence for evidence in found if evidence]


def roofline(measured: TargetMeasurement) -> tuple[Roofline, ...]:
    """Return how near to the roofline both sides came; none if the roofline is not known."""
    if not measured.work or not measured.forks:
        return ()
    work = measured.work[-1]
    floor = _floor_ns(measured, work)
    if not floor:
        return ()
    submission, reference = (
        _mean_wall_ns(_runs(measured, work.size, submission=side)) for side in (True, False)
    )
    return (
        Roofline(
            floor_ns=floor,
            submission=floor / submission,
            reference=floor / reference,
        ),
    )


def _shortest_ns(run: RunSample) -> int:
    """Return the least time that a run may have taken: on a device, what the worker claims."""
    if run.claims and all(claim.events_ns for claim in run.claims):
        return min(run.wall_ns, sum(claim.events_ns[0] for claim in run.claims))
    return run.wall_ns


def _floor_ns(measured: TargetMeasurement, work: SizeWork) -> float:
    """Return the roofline floor of a size in ns; 0 if it is not known.

    Ceilings of the processor are measured with one thread; a submission may use every core.
    """
    if not measured.ceilings or not (work.bytes_moved or work.flops):
        return 0.0
    ceilings = measured.ceilings[0]
    on_cpu = ceilings.setting.device_class == CPU
    floor = floor_ns(work.bytes_moved, work.flops, ceilings, dtype=work.dtype)
    return floor / (measured.cores if on_cpu else 1)


def _runs(measured: TargetMeasurement, size: int, *, submission: bool) -> list[RunSample]:
    runs = runs_of(measured.forks, size, submission=submission)
    return [run for run in runs if run.ended]


def _mean_wall_ns(runs: list[RunSample]) -> float:
    return max(sum(run.wall_ns for run in runs) / max(len(runs), 1), 1.0)
