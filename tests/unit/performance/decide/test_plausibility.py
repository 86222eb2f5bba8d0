"""Bounds that no honest measurement breaks: the roofline, the clock, event times."""

from dataclasses import replace

import pytest

from grader.evidence.device import Ceilings, MatmulRate, MemoryRate, Setting
from grader.evidence.samples import (
    DeviceClaim,
    EmptyCalls,
    ForkSample,
    MemoryCap,
    PairSample,
    RunSample,
    SizeWork,
    TargetMeasurement,
)
from grader.performance.decide.plausibility import broken_bounds, roofline

MS = 1_000_000
GB = 10**9
CEILINGS = Ceilings(
    setting=Setting(device_class="cpu", hardware="h", driver="d", torch="t", triton="", method="1"),
    measured="2026-11-21T00:00:00+00:00",
    memory=(MemoryRate(way="copy", bytes_per_s=10 * GB, size_bytes=1 << 20),),
    matmul=(MatmulRate(dtype="float32", flops_per_s=50 * GB, size=512),),
)


def run(wall_ms, *, cpu_ms=1, claims=()):
    return RunSample(
        wall_ns=int(wall_ms * MS),
        cpu_ns=int(cpu_ms * MS),
        peak_bytes=0,
        traffic_bytes=0,
        calls=1,
        claims=claims,
    )


def measured(submission, *, ceilings=(CEILINGS,), cores=2, bytes_moved=100_000_000, elapsed_ms=100):
    """One pair; the reference takes 20 ms. 100 MB at 10 GB/s on 2 cores: a floor of 5 ms."""
    pair = PairSample(
        size=1,
        submission_first=True,
        submission=submission,
        reference=run(20),
        elapsed_ns=elapsed_ms * MS,
        stolen_ns=0,
        foreign_ns=0,
    )
    return TargetMeasurement(
        problem="p",
        target="t",
        forks=(ForkSample(pairs=(pair,)),),
        work=(SizeWork(size=1, bytes_moved=bytes_moved, flops=0, traffic_bytes=0),),
        empty=EmptyCalls(wall_ns=(100_000, 110_000) * 20, cpu_ns=(1_000_000,) * 4, block=20),
        metered=True,
        cores=cores,
        observations=(),
        faults=(),
        reference_faults=(),
        ceilings=ceilings,
    )


def test_an_honest_run_breaks_nothing():
    assert broken_bounds(measured(run(6))) == ()
    (seen,) = roofline(measured(run(10)))
    assert seen.floor_ns == pytest.approx(5 * MS)
    assert seen.submission == pytest.approx(0.5)
    assert seen.reference == pytest.approx(0.25)


def test_ranks_that_exchange_nothing_may_send_less_than_null_calls():
    """On a busy machine null calls count traffic of the process group's own upkeep."""
    quiet = measured(run(6))
    assert broken_bounds(replace(quiet, empty=replace(quiet.empty, traffic_bytes=4000))) == ()


def test_a_time_below_the_floor_cannot_be():
    (evidence,) = broken_bounds(measured(run(1)))
    assert "below the roofline floor" in evidence


def test_one_absurd_run_among_honest_ones_is_enough():
    honest, absurd = measured(run(8)), measured(run(0.1))
    both = replace(honest, forks=honest.forks + absurd.forks)
    assert len(broken_bounds(both)) == 1


@pytest.mark.parametrize("change", [{"ceilings": ()}, {"bytes_moved": 0}])
def test_without_a_floor_nothing_is_below_it(change):
    assert broken_bounds(measured(run(0.1), **change)) == ()
    assert roofline(measured(run(0.1), **change)) == ()


def test_more_processor_time_than_there_was_cannot_be():
    assert broken_bounds(measured(run(50, cpu_ms=150), elapsed_ms=100)) == ()
    (evidence,) = broken_bounds(measured(run(50, cpu_ms=300), elapsed_ms=100))
    assert "300.0 ms of processor time in 100.0 ms on 2 processors" in evidence


@pytest.mark.parametrize(
    ("claim", "breaks"),
    [((9_900_000,), False), ((1_000_000,), True), ((11_000_000,), True), ((), True)],
    ids=["honest", "hides work", "more than the clock", "no time"],
)
def test_events_are_believed_between_the_clock_and_the_overhead(claim, breaks):
    claims = (DeviceClaim(wall_ns=10 * MS, events_ns=claim),)
    assert bool(broken_bounds(measured(run(10, claims=claims)))) is breaks


CUDA = replace(CEILINGS, setting=replace(CEILINGS.setting, device_class="cuda:h200"))


def test_a_device_has_one_floor_however_many_processors_there_are():
    (seen,) = roofline(measured(run(20), ceilings=(CUDA,), cores=16))
    assert seen.floor_ns == pytest.approx(10 * MS)
    (evidence,) = broken_bounds(measured(run(8), ceilings=(CUDA,), cores=16))
    assert "below the roofline floor" in evidence


def test_a_claim_below_the_floor_cannot_be_however_long_the_call_took():
    long_call = (110 * MS, 100_000) * 20  # so that a claim of 1 ms hides nothing
    empty = EmptyCalls(wall_ns=long_call, cpu_ns=(1_000_000,), block=20)
    claims = (DeviceClaim(wall_ns=100 * MS, events_ns=(1 * MS,)),)
    seen = measured(run(100, claims=claims), ceilings=(CUDA,), elapsed_ms=1000)
    (evidence,) = broken_bounds(replace(seen, empty=empty))
    assert "1000.000 us is below the roofline floor of 10000.000 us" in evidence


@pytest.mark.parametrize(("transfer_bytes", "breaks"), [(2 << 20, False), (0, True)])
def test_a_claim_is_compared_with_null_calls_of_the_same_argument_size(transfer_bytes, breaks):
    """5 ms of 10 ms were not claimed: mapping costs so much, a call without arguments does not."""
    mapping = EmptyCalls(
        wall_ns=(5_000_000, 5_200_000) * 12, cpu_ns=(1,), block=24, transfer_bytes=2 << 20
    )
    claims = (DeviceClaim(wall_ns=10 * MS, events_ns=(5 * MS,), transfer_bytes=transfer_bytes),)
    seen = replace(measured(run(10, claims=claims)), transfers=(mapping,))
    assert bool(broken_bounds(seen)) is breaks


def test_a_run_that_did_not_end_has_no_time_to_beat_a_floor_with():
    short = MemoryCap(limit_bytes=1, ratio=1.0, sufficed=False)
    assert broken_bounds(measured(replace(run(0), caps=(short,)))) == ()
