"""Why a GPU runs below its clocks, and which of these reasons speak against a measurement.

Takes: bits that NVML reports. Gives: `ThrottleReasons`, `DeviceState`, `disturbance`. Does not
cover: reading them (see `device.nvml`), which forks are left out for them (see `measure.kept`).

Source: NVML API reference, "Clock Event Reasons" (nvmlClocksEventReason…, formerly
nvmlClocksThrottleReason…), in nvml.h.
"""

from collections.abc import Iterable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """How fast a device runs, and why not faster, at one moment or over several.

    Attributes:
        reasons: that were active; bits that have no name here are kept.
        sm_clock_mhz: of the multiprocessors, the lowest that was read.
        memory_clock_mhz: of the memory, the lowest that was read.
    """

    reasons: ThrottleReasons
    sm_clock_mhz: int
    memory_clock_mhz: int

    def joined(self, other: "DeviceState") -> "DeviceState":
        """Return what holds over both: every reason, the lower clocks."""
        return DeviceState(
            reasons=self.reasons | other.reasons,
            sm_clock_mhz=min(self.sm_clock_mhz, other.sm_clock_mhz),
            memory_clock_mhz=min(self.memory_clock_mhz, other.memory_clock_mhz),
        )


def disturbance(states: Iterable[DeviceState]) -> str:
    """Return which reasons speak against what was measured; empty if none does."""
    active = ThrottleReasons(0)
    for state in states:
        active |= state.reasons & DISTURBING
    return ", ".join((reason.name or "").lower().replace("_", " ") for reason in active)
