"""The state of a device while something is measured on it, and its ceilings: its highest rates.

States are read in `worker.cuda`, ceilings are measured in `performance.measure.ceilings`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntFlag

TF32 = "tf32"
_EXACT = (("float64", 1), ("float32", 1))
_CAN_STAND_FOR: dict[str, tuple[tuple[str, int], ...]] = {
    "float64": (("float64", 1),),
    # Three TF32 or float16 products have the precision of one in float32: Ootomo, Yokota,
    # "Recovering single precision accuracy from Tensor Cores while surpassing the FP32 theoretical
    # peak", 2022. Of bfloat16 it takes six: Henry, Tang, Heinecke, "Leveraging the bfloat16
    # artificial intelligence datatype for higher-precision computations", ARITH 2019.
    "float32": (*_EXACT, (TF32, 3), ("float16", 3), ("bfloat16", 6)),
    "float16": (*_EXACT, (TF32, 1), ("float16", 1)),
    "bfloat16": (*_EXACT, (TF32, 1), ("float16", 1), ("bfloat16", 1)),
}
"""By dtype of the work: dtypes that it can be done in, and how many products that takes."""


class ThrottleReasons(IntFlag):
    """Why a device runs below its highest clocks; the values are NVML's."""

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

The power cap is none: a heavy kernel reaches it by itself. Idle clocks and settings are none: they
are the same for submission and reference.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """How fast a device runs, and why not faster, at one moment or over several.

    Attributes:
        reasons: the active reasons; bits without a name here are kept.
        sm_clock_mhz: the lowest clock of the multiprocessors that was read.
        memory_clock_mhz: the lowest clock of the memory that was read.
    """

    reasons: ThrottleReasons
    sm_clock_mhz: int
    memory_clock_mhz: int

    def joined(self, other: "DeviceState") -> "DeviceState":
        """Return the state over both moments: every reason, the lower clocks."""
        return DeviceState(
            reasons=self.reasons | other.reasons,
            sm_clock_mhz=min(self.sm_clock_mhz, other.sm_clock_mhz),
            memory_clock_mhz=min(self.memory_clock_mhz, other.memory_clock_mhz),
        )


def disturbance(states: Iterable[DeviceState]) -> str:
    """Return the reasons to discard what was measured, as text; empty if there are none."""
    active = ThrottleReasons(0)
    for state in states:
        active |= state.reasons & DISTURBING
    return ", ".join((reason.name or "").lower().replace("_", " ") for reason in active)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The conditions under which ceilings are valid; under others they are measured anew.

    Attributes:
        device_class: as `assignment.target` names it.
        hardware: the device's name and what else distinguishes it.
        driver: version of the driver; for `cpu`, of the operating system.
        triton: version of Triton; empty where there is none.
        method: version of the measuring method.
    """

    device_class: str
    hardware: str
    driver: str
    torch: str
    triton: str
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRate:
    """The highest rate at which bytes were moved in one way.

    Attributes:
        way: `copy` (read and written bytes both count), `read` or `write`.
        size_bytes: size of the working set at which it was reached.
    """

    way: str
    bytes_per_s: float
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MatmulRate:
    """The highest rate at which matrices of one dtype were multiplied.

    Attributes:
        dtype: its name without `torch.`; `tf32` for float32 in a GPU's reduced precision.
        flops_per_s: floating-point operations, 2·n³ for an n×n product.
        size: n at which it was reached.
    """

    dtype: str
    flops_per_s: float
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """The highest rates of a device; a measurement above them is not plausible.

    Attributes:
        measured: date and time, UTC, ISO 8601.
        memory: one entry per way.
        matmul: one entry per dtype.
    """

    setting: Setting
    measured: str
    memory: tuple[MemoryRate, ...]
    matmul: tuple[MatmulRate, ...]

    @property
    def bytes_per_s(self) -> float:
        """Bytes that can be moved per second, in the fastest way."""
        return max(rate.bytes_per_s for rate in self.memory)

    def flops_per_s(self, dtype: str = "") -> float:
        """Return the operations per second for `dtype`; the highest of all if it is unknown.

        Work in a dtype may be done in a more precise one, where that is faster (bfloat16 on a CPU
        without it), and float32 as three TF32 products. A ceiling that is too high is the safe
        side: it never calls a possible time implausible.
        """
        rates = {rate.dtype: rate.flops_per_s for rate in self.matmul}
        allowed = _CAN_STAND_FOR.get(dtype, ())
        usable = [rates[name] / parts for name, parts in allowed if name in rates]
        return max(usable or rates.values())
