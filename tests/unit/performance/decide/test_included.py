"""Whole forks are left out for stolen time or throttling, never for a side's own time."""

from dataclasses import replace

import pytest

from grader.evidence.device import DeviceState, ThrottleReasons
from grader.evidence.samples import ForkSample, PairSample, RunSample
from grader.performance.decide.totals import (
    included_forks,
    left_out,
    throttled,
    throttling,
    without_cpu_contention,
)

MS = 1_000_000


def run(cpu_ms: float, wall_ms: float) -> RunSample:
    return RunSample(
        wall_ns=round(wall_ms * MS),
        cpu_ns=round(cpu_ms * MS),
        peak_bytes=0,
        traffic_bytes=0,
        calls=1,
    )


def pair(*, stolen_ms: float = 0, foreign_ms: float = 0, submission=None, reference=None):
    return PairSample(
        size=1,
        submission_first=True,
        submission=submission or run(10, 10),
        reference=reference or run(10, 10),
        elapsed_ns=40 * MS,
        stolen_ns=round(stolen_ms * MS),
        foreign_ns=round(foreign_ms * MS),
    )


def fork(**disturbance) -> ForkSample:
    return ForkSample(pairs=(pair(), pair(**disturbance)))


def test_quiet_forks_all_count():
    forks = tuple(fork() for _ in range(12))
    assert included_forks(forks) == forks


def test_the_worst_fork_goes_whole():
    forks = (*(fork() for _ in range(4)), fork(stolen_ms=20), fork(stolen_ms=30))
    kept = included_forks(forks)
    assert kept == forks[:5]  # one in five at most
    assert all(len(one.pairs) == 2 for one in kept)


def hot(reasons=ThrottleReasons.HW_THERMAL_SLOWDOWN, side="submission"):
    """Return a fork in which the device throttled during one of two pairs."""
    state = DeviceState(reasons=reasons, sm_clock_mhz=1000, memory_clock_mhz=3201)
    return fork(**{side: replace(run(10, 10), states=(state,))})


@pytest.mark.parametrize("side", ["submission", "reference"])
def test_a_fork_in_which_the_device_throttled_is_left_out_whole(side):
    forks = (*(fork() for _ in range(9)), hot(side=side))
    assert included_forks(forks) == forks[:9]
    assert throttling(forks) == ""


def test_the_device_comes_before_the_hypervisor():
    forks = (hot(), fork(stolen_ms=35), *(fork() for _ in range(3)))
    assert left_out(forks) == (0,)  # one in five at most


def test_what_is_over_the_share_is_told():
    forks = (hot(), hot(ThrottleReasons.HW_POWER_BRAKE_SLOWDOWN), *(fork() for _ in range(3)))
    assert throttled(forks) == (0, 1)
    assert len(included_forks(forks)) == 4
    assert throttling(forks).endswith("in 2 of 5 forks")
    assert throttling(forks[:2] + forks[:2]).startswith("hw thermal slowdown, hw power brake")


@pytest.mark.parametrize(
    "reasons", [ThrottleReasons.SW_POWER_CAP, ThrottleReasons.GPU_IDLE, ThrottleReasons(0x4000)]
)
def test_what_a_submission_can_cause_leaves_no_fork_out(reasons):
    forks = tuple(hot(reasons) for _ in range(10))
    assert (included_forks(forks), throttled(forks), throttling(forks)) == (forks, (), "")


def test_four_forks_are_too_few_to_leave_one_out():
    forks = tuple(fork(stolen_ms=30) for _ in range(4))
    assert included_forks(forks) == forks


@pytest.mark.parametrize("side", ["submission", "reference"])
def test_a_slow_side_is_no_reason(side):
    forks = (*(fork() for _ in range(9)), fork(**{side: run(50, 80)}))
    assert included_forks(forks) == forks


def test_waiting_for_others_is_taken_off_and_sleeping_is_not():
    submission = run(10, 30)
    slept = ForkSample(pairs=(pair(submission=submission),))
    assert without_cpu_contention(slept, 2) == slept
    waited = ForkSample(pairs=(pair(submission=submission, foreign_ms=30, stolen_ms=2),))
    assert without_cpu_contention(waited, 2).pairs[0].submission.wall_ns == 14 * MS


def test_sleeping_beside_busy_neighbours_is_sleeping():
    """Its threads waited for nothing: what others computed is no excuse."""
    slept = replace(run(10, 30), ran_ns=10 * MS, queued_ns=0)
    fork_of = ForkSample(pairs=(pair(submission=slept, foreign_ms=60),))
    assert without_cpu_contention(fork_of, 2) == fork_of


def test_what_threads_waited_is_taken_off():
    queued = replace(run(10, 30), ran_ns=10 * MS, queued_ns=12 * MS)
    fork_of = ForkSample(pairs=(pair(submission=queued, foreign_ms=60, stolen_ms=4),))
    assert without_cpu_contention(fork_of, 2).pairs[0].submission.wall_ns == 16 * MS


def test_threads_waiting_for_each_other_are_no_neighbours():
    queued = replace(run(10, 30), ran_ns=10 * MS, queued_ns=500 * MS)
    fork_of = ForkSample(pairs=(pair(submission=queued, foreign_ms=8),))
    assert without_cpu_contention(fork_of, 2).pairs[0].submission.wall_ns == 26 * MS


def test_for_threads_that_have_ended_the_bound_holds():
    """Half of the work was done by threads that nobody could ask any more."""
    ended = replace(run(10, 40), ran_ns=5 * MS, queued_ns=3 * MS)
    fork_of = ForkSample(pairs=(pair(submission=ended, foreign_ms=40),))
    assert without_cpu_contention(fork_of, 2).pairs[0].submission.wall_ns == 27 * MS
    assert without_cpu_contention(fork_of, 2, most=False).pairs[0].submission.wall_ns == 37 * MS


def test_its_own_processor_time_is_never_subtracted():
    waited = ForkSample(pairs=(pair(submission=run(10, 30), foreign_ms=200),))
    assert without_cpu_contention(waited, 2).pairs[0].submission.wall_ns == 10 * MS
    threads = replace(waited.pairs[0], submission=run(40, 30))  # more processor time than time
    assert without_cpu_contention(ForkSample(pairs=(threads,)), 2).pairs[0] == threads
