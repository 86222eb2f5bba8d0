"""Forks are left out whole, on what the hypervisor took, and never because of a side's own time."""

from dataclasses import replace

import pytest

from grader.measure.kept import kept_forks, unhindered
from grader.measure.samples import ForkSample, PairSample, RunSample

MS = 1_000_000


def run(cpu_ms: float, wall_ms: float) -> RunSample:
    return RunSample(
        wall_ns=round(wall_ms * MS), cpu_ns=round(cpu_ms * MS), peak_bytes=0, wire_bytes=0, calls=1
    )


def pair(*, stolen_ms: float = 0, foreign_ms: float = 0, subject=None, reference=None):
    return PairSample(
        size=1,
        subject_first=True,
        subject=subject or run(10, 10),
        reference=reference or run(10, 10),
        elapsed_ns=40 * MS,
        stolen_ns=round(stolen_ms * MS),
        foreign_ns=round(foreign_ms * MS),
    )


def fork(**disturbance) -> ForkSample:
    return ForkSample(pairs=(pair(), pair(**disturbance)))


def test_quiet_forks_all_count():
    forks = tuple(fork() for _ in range(12))
    assert kept_forks(forks) == forks


def test_the_worst_fork_goes_whole():
    forks = (*(fork() for _ in range(4)), fork(stolen_ms=20), fork(stolen_ms=30))
    kept = kept_forks(forks)
    assert kept == forks[:5]  # one in five at most
    assert all(len(one.pairs) == 2 for one in kept)


def test_four_forks_are_too_few_to_leave_one_out():
    forks = tuple(fork(stolen_ms=30) for _ in range(4))
    assert kept_forks(forks) == forks


@pytest.mark.parametrize("side", ["subject", "reference"])
def test_a_slow_side_is_no_reason(side):
    forks = (*(fork() for _ in range(9)), fork(**{side: run(50, 80)}))
    assert kept_forks(forks) == forks


def test_waiting_for_others_is_taken_off_and_sleeping_is_not():
    subject = run(10, 30)
    slept = ForkSample(pairs=(pair(subject=subject),))
    assert unhindered(slept, 2) == slept
    waited = ForkSample(pairs=(pair(subject=subject, foreign_ms=30, stolen_ms=2),))
    assert unhindered(waited, 2).pairs[0].subject.wall_ns == 14 * MS


def test_its_own_work_is_never_taken_off():
    waited = ForkSample(pairs=(pair(subject=run(10, 30), foreign_ms=200),))
    assert unhindered(waited, 2).pairs[0].subject.wall_ns == 10 * MS
    threads = replace(waited.pairs[0], subject=run(40, 30))  # more processor time than time
    assert unhindered(ForkSample(pairs=(threads,)), 2).pairs[0] == threads
