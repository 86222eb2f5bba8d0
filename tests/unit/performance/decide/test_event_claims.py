"""Claims are taken inside their bounds, and a broken bound says what was claimed and measured."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.errors import DeviceError
from grader.performance.decide.event_claims import (
    Overhead,
    bounds_ns,
    calibrate,
    check_claim,
)

OVERHEAD = Overhead(mean_ns=100_000, deviation_ns=10_000, longest_ns=150_000, calls=100)
MS = 1_000_000


def test_a_calibration_has_mean_spread_and_longest():
    overhead = calibrate([90_000, 110_000] * 20)
    assert overhead.mean_ns == 100_000
    assert overhead.deviation_ns == pytest.approx(10_127, rel=0.01)
    assert (overhead.longest_ns, overhead.calls) == (110_000, 40)


@pytest.mark.parametrize("walls_ns", [[], [1] * 19, [5] * 30 + [0]])
def test_a_calibration_needs_times(walls_ns):
    with pytest.raises(DeviceError, match="null calls"):
        calibrate(walls_ns)


def test_an_honest_claim_is_accepted():
    assert not evidence([10 * MS, 10 * MS], [10 * MS + 100_000, 10 * MS + 90_000])


def evidence(events, walls_ns):
    return check_claim(events, walls_ns, OVERHEAD)


def test_work_outside_the_events_is_seen():
    found = evidence([10 * MS, 1 * MS], [10 * MS + 100_000] * 2)
    assert "call 1: events claim 1000.0 us of 10100.0 us" in found
    assert "at most 150.0 us can be overhead" in found


def test_more_than_the_judges_clock_is_seen():
    assert "events claim 11000.0 us" in evidence([11 * MS], [10 * MS])


def test_hiding_a_little_in_every_call_adds_up():
    walls_ns = [10 * MS + 100_000] * 100
    one_call_least, _ = bounds_ns(walls_ns[0], 1, OVERHEAD)
    events = [int(one_call_least) + 1000] * 100
    assert not evidence(events[:1], walls_ns[:1])
    assert evidence(events, walls_ns).startswith("100 calls: events claim")


@pytest.mark.parametrize("events", [[], [1, 2], [-1], [True], [0.5], ["5"], [None], [float("nan")]])
def test_what_is_no_time_is_no_claim(events):
    found = evidence(events, [10 * MS])
    assert "event time" in found
    assert len(found) < 120


def test_nothing_measured_is_nothing_accepted():
    assert evidence([], []) == "0 event times for 0 calls"


def test_a_call_shorter_than_its_overhead_has_no_lower_bound():
    assert bounds_ns(50_000, 1, OVERHEAD)[0] == 0
    assert not evidence([0], [50_000])


@given(st.integers(1, 200), st.integers(1, 20_000), st.integers(0, 1 << 32))
def test_honest_claims_pass(calls, work_us, seed):
    rng = random.Random(seed)
    walls_ns = [max(rng.gauss(100_000, 10_000), 60_000) for _ in range(50)]
    overhead = calibrate([round(wall_ns) for wall_ns in walls_ns])
    extra = [rng.choice(walls_ns) for _ in range(calls)]  # of the same distribution
    events = [work_us * 1000] * calls
    sandbox = [round(work_us * 1000 + more) for more in extra]
    assert not check_claim(events, sandbox, overhead)


@given(st.integers(1, 50), st.integers(0, 10**10))
def test_bounds_hold_the_wall_time(calls, wall_ns):
    least, most = bounds_ns(wall_ns, calls, OVERHEAD)
    assert 0 <= least <= most
    assert most >= wall_ns
