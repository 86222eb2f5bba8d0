"""Measured quantities in words: ratios, slopes, times, bytes, and where each number comes from.

Takes: numbers and members of enums. Gives: phrases for students. Does not cover: verdicts and
causes (see `words`), the judge's own sentences (see `judge.targets`).
"""

import math
from collections.abc import Mapping

from grader.performance.decide.interval import Kind
from grader.performance.decide.totals import STOLEN_SHARE

KIND_SOURCES: Mapping[Kind, str] = {
    Kind.CPU_RATIO: "control group of the box",
    Kind.WALL_RATIO: "the judge's clock",
    Kind.CPU_GROWTH: "control group of the box",
    Kind.WALL_GROWTH: "the judge's clock",
    Kind.CPU_LARGEST: "control group of the box",
    Kind.WALL_LARGEST: "the judge's clock",
    Kind.MEMORY: "control group of the box",
    Kind.MEMORY_CAP: "the judge, who held the rest of the device's memory",
    Kind.TRAFFIC: "counters of the box's network",
}
"""What made the number; all of it lies outside the box."""

KIND_METERS: Mapping[Kind, str] = {
    Kind.CPU_RATIO: "Processor time",
    Kind.WALL_RATIO: "Time on the clock",
    Kind.CPU_GROWTH: "Processor time",
    Kind.WALL_GROWTH: "Time on the clock",
    Kind.CPU_LARGEST: "Processor time",
    Kind.WALL_LARGEST: "Time on the clock",
    Kind.MEMORY: "Peak memory",
    Kind.MEMORY_CAP: "Memory of the device",
    Kind.TRAFFIC: "Bytes on the wire",
}
"""What is added up, short enough for a mark in a picture."""

STOLEN_TEXT = f"the hypervisor took over {100 * STOLEN_SHARE:.0f} % of the time from this machine"
"""Why forks are left out."""
THROTTLED_TEXT = "the device was held back by heat, by its power supply or by another device"
"""The same, of a device."""

DEVICE_TEXT: Mapping[str, str] = {
    "cpu": "a processor",
    "cuda:h200": "an NVIDIA H200",
    "cuda:h100": "an NVIDIA H100",
    "cuda:a100": "an NVIDIA A100",
    "cuda:t4": "an NVIDIA T4",
    "cuda:*": "a CUDA GPU",
}

BLOCKED_TEXT = "Not measured"
NOISY_TEXT = (
    "The machine was too noisy to decide; it is not a zero. The course staff can measure it again."
)
UNMETERED_TEXT = (
    "The machine that graded you cannot count memory or traffic from outside; it is not a zero."
)
ROOFLINE_TEXT = (
    "of the speed that this machine can reach at most, by the least work there is "
    "(the author's arithmetic) over rates measured here"
)
TIMELINE_TEXT = (
    "One further run, drawn by what your ranks themselves recorded: advice, not graded. Each bar "
    "below the backward pass is a call of torch.distributed, from its launch to its end; its dark "
    "part is how long your code waited for the call to come back."
)

_NS_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_MIB = 1 << 20


def exp_ratio(log_ratio: float) -> float:
    """Return the ratio of a logarithm; infinite where there is no number for it."""
    return math.exp(log_ratio) if log_ratio < 700 else math.inf


def ratio_text(ratio: float) -> str:
    """Return a ratio with three digits, two decimals at most."""
    if math.isinf(ratio):
        return "∞"
    if ratio >= 100:
        return f"{ratio:.0f}"
    if ratio >= 10:
        return f"{ratio:.1f}"
    return f"{ratio:.2f}" if ratio >= 0.1 or ratio == 0 else f"{ratio:.2g}"


def slope_text(slope: float) -> str:
    """Return a slope with two decimals."""
    if math.isinf(slope):
        return "∞" if slope > 0 else "-∞"
    text = f"{slope:.2f}"
    return "0.00" if text == "-0.00" else text


def time_text(ns: float) -> str:
    """Return a time with three digits in a unit that fits."""
    for scale, unit in _NS_UNITS:
        if ns >= scale:
            return f"{ns / scale:.3g} {unit}" if ns < 999.5 * scale else f"{ns / scale:.0f} {unit}"
    return f"{ns:.2g} ns"


def bytes_text(count: float) -> str:
    """Return bytes in MiB, or in KiB where that is less than one."""
    if count >= 100 * _MIB:
        return f"{count / _MIB:.0f} MiB"
    return f"{count / _MIB:.1f} MiB" if count >= _MIB else f"{count / 1024:.1f} KiB"


def percent_text(share: float) -> str:
    """Return a share in percent, with a decimal where it is small."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    if math.isinf(share):
        return "∞ %"
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"


def device_text(devices: tuple[str, ...], graded_on: str) -> str:
    """Return what a target needs that the machine did not have.

    Args:
        devices: classes that have a tier; none in records that do not say.
        graded_on: the device that there was.
    """
    if not devices:
        return "It needs a device that the machine that graded you lacks; it is not a zero."
    names = [f"{DEVICE_TEXT.get(name, 'another device')} ({name})" for name in devices]
    return f"It needs {' or '.join(names)}, and you were graded on {graded_on}; it is not a zero."
