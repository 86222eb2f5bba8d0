"""Throttle reasons for which a pair of measurements is discarded."""

import pytest

from grader.evidence.device import DISTURBING, DeviceState, ThrottleReasons, disturbance

NONE = ThrottleReasons(0)


def states(*reasons):
    return [DeviceState(reasons=one, sm_clock_mhz=1980, memory_clock_mhz=3201) for one in reasons]


@pytest.mark.parametrize("reason", list(DISTURBING))
def test_a_reason_before_or_after_disturbs(reason):
    for pair in ((reason, NONE), (NONE, reason), (reason, reason)):
        assert (reason.name or "").lower().replace("_", " ") in disturbance(states(*pair))


@pytest.mark.parametrize(
    "reason",
    [
        NONE,
        ThrottleReasons.GPU_IDLE,
        ThrottleReasons.SW_POWER_CAP,
        ThrottleReasons.APPLICATIONS_CLOCKS_SETTING | ThrottleReasons.DISPLAY_CLOCK_SETTING,
        ThrottleReasons(0x8000),
    ],
)
def test_a_reason_that_both_sides_share_does_not_disturb(reason):
    assert disturbance(states(reason, reason)) == ""


def test_all_reasons_are_named():
    before, after = ThrottleReasons.SYNC_BOOST, ThrottleReasons.HW_THERMAL_SLOWDOWN
    assert disturbance(states(before, after)) == "sync boost, hw thermal slowdown"


def test_states_join_to_all_reasons_and_the_lowest_clocks():
    hot = DeviceState(
        reasons=ThrottleReasons.SW_THERMAL_SLOWDOWN, sm_clock_mhz=1200, memory_clock_mhz=3201
    )
    cold = DeviceState(reasons=ThrottleReasons.GPU_IDLE, sm_clock_mhz=1980, memory_clock_mhz=2619)
    assert (
        hot.joined(cold)
        == cold.joined(hot)
        == DeviceState(reasons=hot.reasons | cold.reasons, sm_clock_mhz=1200, memory_clock_mhz=2619)
    )
