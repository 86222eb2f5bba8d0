"""Which reasons speak against a pair of measurements."""

import pytest

from grader.device.throttle import DISTURBING, ThrottleReasons, disturbance

NONE = ThrottleReasons(0)


@pytest.mark.parametrize("reason", list(DISTURBING))
def test_a_reason_before_or_after_disturbs(reason):
    for pair in ((reason, NONE), (NONE, reason), (reason, reason)):
        assert "held back" in disturbance(*pair)


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
def test_what_a_submission_causes_or_both_sides_share_does_not(reason):
    assert disturbance(reason, reason) == ""


def test_all_reasons_are_named():
    before, after = ThrottleReasons.SYNC_BOOST, ThrottleReasons.HW_THERMAL_SLOWDOWN
    assert disturbance(before, after) == (
        "the device was held back: sync boost, hw thermal slowdown"
    )
