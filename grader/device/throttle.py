"""Why a GPU runs below its clocks, and which of these reasons speak against a measurement.

Takes: bits that NVML reports. Gives: `ThrottleReasons`, `disturbance`. Does not cover: reading them
(see `device.nvml`).

Source: NVML API reference, "Clock Event Reasons" (nvmlClocksEventReason…, formerly
nvmlClocksThrottleReason…), in nvml.h.
"""

from enum import IntFlag


class ThrottleReasons(IntFlag):
    """Reasons that are active at one moment; the values are NVML's."""

    GPU_IDLE = 0x001
    APPLICATIONS_CLOCKS_SETTING = 0x002
    SW_POWER_CAP = 0x004
    HW_SLOWDOWN = 0x008
    SYNC_BOOST = 0x010
    SW_THERMAL_SLOWDOWN = 0x020
    HW_THERMAL_SLOWDOWN = 0x040
    HW_POWER_BRAKE_SLOWDOWN = 0x080
    DISPLAY_CLOCK_SETTING = 0x100


DISTURBING = (
    ThrottleReasons.HW_SLOWDOWN
    | ThrottleReasons.SYNC_BOOST
    | ThrottleReasons.SW_THERMAL_SLOWDOWN
    | ThrottleReasons.HW_THERMAL_SLOWDOWN
    | ThrottleReasons.HW_POWER_BRAKE_SLOWDOWN
)
"""Reasons for which a pair of measurements may be discarded.

Not the power cap: a heavy kernel reaches it by itself, so it is no evidence from outside. Not idle
clocks and settings: they hold for submission and reference alike.
"""


def disturbance(before: ThrottleReasons, after: ThrottleReasons) -> str:
    """Return the evidence that a pair between two readings was disturbed; empty if it was not."""
    active = (before | after) & DISTURBING
    if not active:
        return ""
    names = ", ".join((reason.name or "").lower().replace("_", " ") for reason in active)
    return f"the device was held back: {names}"
