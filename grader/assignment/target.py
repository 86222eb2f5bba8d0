"""Performance targets: the `[[problem.target]]` tables of `assignment.toml`, and device classes.

A target has a quantity, tiers per device class, and points. How the quantity is measured is in
`performance.measure`, how it is judged in `judge.targets`.

A device class is `cpu`, `cuda:h200`, `cuda:h100`, `cuda:a100`, `cuda:t4`, or `cuda:*` for any other
CUDA device. A MIG slice of a device is slower than the device, so its class is `cuda:*`. Finding
devices is in `worker.cuda.driver`.
"""

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum

from grader.assignment.key_path import KeyPath

CPU = "cpu"
ANY_CUDA = "cuda:*"
MODELS = ("h200", "h100", "a100", "t4")
CLASSES = (CPU, *(f"cuda:{model}" for model in MODELS), ANY_CUDA)


class Quantity(StrEnum):
    """What is measured, against the hidden reference in the same run. Less is better.

    TIME: ratio of total times.
    GROWTH: slope of log(submission / reference) over log(size): 0 if the submission grows as the
        reference does, 1 if it grows with one more power of the size.
    MEMORY: ratio of peak memory beyond torch's own footprint; on a device, ratio of the memory
        cap that sufficed to the reference's peak.
    TRAFFIC: network traffic in bytes, as a ratio to the bytes that must cross by arithmetic.
    """

    TIME = "time"
    GROWTH = "growth"
    MEMORY = "memory"
    TRAFFIC = "traffic"

    @property
    def is_counted(self) -> bool:
        """Whether it is counted rather than timed: on a CPU, other load does not change it."""
        return self in (Quantity.MEMORY, Quantity.TRAFFIC)


class Clock(StrEnum):
    """Which time decides; the other one is measured as well.

    CPU: CPU time of everything that the submission started; other load hardly changes it.
    WALL: from request to reply; what a user waits for, and the only one that includes a device.
    """

    CPU = "cpu"
    WALL = "wall"


class CheckKind(StrEnum):
    """What a failed check costs besides its own points; without targets both mean the same.

    ESSENTIAL: the problem's performance points, all of them: a fast wrong answer earns nothing.
    EDGE: a published share of them, such as for one forgotten dtype or an error that is not raised.
    """

    ESSENTIAL = "essential"
    EDGE = "edge"


class NoDevice(StrEnum):
    """What happens to a target without a tier for the device that is graded on.

    UNGRADED: its points stay open, and the grade is provisional.
    LEAVE_OUT: it is left out, and its points do not count on this device.
    """

    UNGRADED = "ungraded"
    LEAVE_OUT = "leave_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """From which value on a target gives points, and all of them; linear in between.

    Attributes:
        pass_at: the largest value that passes; it gives half of the points.
        full_at: the largest value that gives all points.
        ratio_at_most: for GROWTH, the largest ratio of times at the largest size, because a
            submission that is slow at every size shows little growth. 0 for other quantities.
    """

    pass_at: float
    full_at: float
    ratio_at_most: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One performance criterion of a problem; it counts only if its essential checks pass.

    Attributes:
        name: identifier, unique among checks and targets of the problem.
        title: what is asked, as a student reads it.
        points: published weight.
        quantity: what is measured.
        tiers: by device class (`cpu`, `cuda:h200`, `cuda:*`, ...).
        clock: which time decides, for TIME and GROWTH; on a device it is always the wall clock.
        no_device: what happens on a device without a tier.
        tolerance: as for a check: the replies of measured calls are compared, too.
        network_rate: limit of the network between ranks during the measurement, in bytes per
            second, for both sides; 0 for no limit.
        traffic_share: instead of a fixed rate, the network is limited to the rate at which the
            reference's traffic takes this share of its time on an unlimited network; 0 for none.
    """

    name: str
    title: str
    points: float
    quantity: Quantity
    tiers: dict[str, Tier]
    clock: Clock = Clock.CPU
    no_device: NoDevice = NoDevice.UNGRADED
    tolerance: dict[str, float] = field(default_factory=dict)
    network_rate: int = 0
    traffic_share: float = 0.0

    def tiers_for(self, device: str) -> tuple[Tier, ...]:
        """Return the most specific tier for a device class, or none."""
        found = [self.tiers[name] for name in candidates(device) if name in self.tiers]
        return tuple(found[:1])


def check_target(target: Target, ranks: int, table: KeyPath) -> None:
    """Raise for values that have the right type and still make no sense.

    Raises:
        AuthorError: the message names file, table and key, with what was expected and found.
    """
    if not 0 < target.points < math.inf:
        table.fail("points", "a number above 0", target.points)
    _check_traffic(target, ranks, table)
    if not target.tiers:
        table.fail("tiers", "at least one device class", 0)
    for device, tier in target.tiers.items():
        key = f"tiers.{device}"
        if device not in CLASSES:
            table.fail(key, f"one of {', '.join(CLASSES)}", device)
        if not 0 <= tier.full_at <= tier.pass_at < math.inf:
            found = f"{tier.full_at:g} and {tier.pass_at:g}"
            table.fail(f"{key}.full_at", "0 <= full_at <= pass_at", found)
        ratio, growth = tier.ratio_at_most, target.quantity is Quantity.GROWTH
        if growth and not 1 < ratio < math.inf:
            table.fail(f"{key}.ratio_at_most", "a number above 1", ratio)
        if not growth and ratio:
            table.fail(f"{key}.ratio_at_most", "none, because no growth is measured", ratio)


def _check_traffic(target: Target, ranks: int, table: KeyPath) -> None:
    if target.network_rate < 0:
        table.fail("network_rate", "bytes per second, or 0", target.network_rate)
    if not 0 <= target.traffic_share < math.inf:
        table.fail("traffic_share", "a share of the reference's time, or 0", target.traffic_share)
    if target.network_rate and target.traffic_share:
        table.fail("traffic_share", "none beside a network_rate", target.traffic_share)
    timed = ranks > 0 and target.quantity is Quantity.TIME
    expected = 'none, because only `quantity = "time"` of a problem with ranks has a network'
    if target.network_rate and not timed:
        table.fail("network_rate", expected, target.network_rate)
    if target.traffic_share and not timed:
        table.fail("traffic_share", expected, target.traffic_share)


def device_class(name: str) -> str:
    """Return the class of a device; `cpu` for the CPU.

    Args:
        name: "cpu", or the driver's name for it, such as "NVIDIA A100-SXM4-80GB" or "Tesla T4".
    """
    words = re.findall(r"[a-z0-9]+", name.lower())
    if words == [CPU]:
        return CPU
    if "mig" not in words:
        for model in MODELS:
            if model in words:
                return f"cuda:{model}"
    return ANY_CUDA


def candidates(name: str) -> tuple[str, ...]:
    """Return the keys that apply to the class `name`, the most specific first."""
    return (name, ANY_CUDA) if name.startswith("cuda:") and name != ANY_CUDA else (name,)
