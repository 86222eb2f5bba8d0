"""Performance targets as an author writes them: a quantity, tiers per device, points.

Takes: the `[[problem.target]]` tables of `assignment.toml`. Gives: `Target`. Does not cover: how
the quantity is measured (see `performance.measure.interleaved`) and judged (see `judge.targets`).
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum

from grader.assignment.device_class import CLASSES, choose_tier, has_tier
from grader.assignment.key_path import KeyPath


class Quantity(StrEnum):
    """What is compared with the hidden reference, measured in the same run. Less is better.

    TIME: ratio of total times.
    GROWTH: slope of log(submission / reference) over log(size); 0 grows as the reference does, 1
        grows with one more power of the size.
    MEMORY: ratio of peak memory, of what each adds to torch's own footprint; on a device, of the
        room in its memory that sufficed to the reference's peak there.
    TRAFFIC: bytes on the wire, as a ratio to the bytes that arithmetic says must cross.
    """

    TIME = "time"
    GROWTH = "growth"
    MEMORY = "memory"
    TRAFFIC = "traffic"

    @property
    def is_counted(self) -> bool:
        """Whether it is counted rather than timed: on the processor no neighbour changes it."""
        return self in (Quantity.MEMORY, Quantity.TRAFFIC)


class Clock(StrEnum):
    """Which time decides; the other one is measured as well.

    CPU: processor time of everything that the submission started; does not see a neighbour.
    WALL: from request to reply; what a user waits for, and the only one that sees a device.
    """

    CPU = "cpu"
    WALL = "wall"


class NoDevice(StrEnum):
    """What becomes of a target that has no tier for the device at hand.

    UNGRADED: its points stay open, and the grade is provisional.
    LEAVE_OUT: it is not asked, and its points do not exist on this device.
    """

    UNGRADED = "ungraded"
    LEAVE_OUT = "leave_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Where points begin and where they are full; between the two they grow linearly.

    Attributes:
        pass_at: the largest figure that passes; it earns half of the points.
        full_at: the largest figure that earns all of them.
        ratio_at_most: for GROWTH, the largest ratio of times at the largest size: a submission that
            is slow everywhere must not hide its growth behind that. 0 for other quantities.
    """

    pass_at: float
    full_at: float
    ratio_at_most: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One performance criterion of a problem; it counts once all its checks have passed.

    Attributes:
        name: identifier, unique among checks and targets of the problem.
        title: what is asked, as a student reads it.
        points: published weight.
        quantity: what is measured.
        tiers: by device class (`cpu`, `cuda:h200`, `cuda:*`, ...).
        clock: which time decides, for TIME and GROWTH; on a device it is always WALL.
        no_device: what happens on a device without a tier.
        tolerance: as for a check: every measured call's reply is compared too.
        network_rate: bytes per second that the wire of a problem with ranks is held to while this
            is measured, for both sides; 0 for no limit.
        traffic_share: instead of a rate, what it makes of the machine: the wire is held to the rate
            at which the reference's bytes take this share of its time on a free one; 0 for none.
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
        """Return the most special tier for a device class; none if there is none."""
        return (choose_tier(self.tiers, device),) if has_tier(self.tiers, device) else ()


def check_target(target: Target, ranks: int, place: KeyPath) -> None:
    """Raise for values that have the right type and still make no sense.

    Args:
        target: to be checked.
        ranks: of the problem that it belongs to.
        place: of its table in the file.

    Raises:
        AuthorError: naming file, key, what was expected and what was found.
    """
    if not 0 < target.points < math.inf:
        place.fail("points", "a number above 0", target.points)
    _check_traffic(target, ranks, place)
    if not target.tiers:
        place.fail("tiers", "at least one device class", 0)
    for device, tier in target.tiers.items():
        key = f"tiers.{device}"
        if device not in CLASSES:
            place.fail(key, f"one of {', '.join(CLASSES)}", device)
        if not 0 <= tier.full_at <= tier.pass_at < math.inf:
            found = f"{tier.full_at:g} and {tier.pass_at:g}"
            place.fail(f"{key}.full_at", "0 <= full_at <= pass_at", found)
        ratio, growth = tier.ratio_at_most, target.quantity is Quantity.GROWTH
        if growth and not 1 < ratio < math.inf:
            place.fail(f"{key}.ratio_at_most", "a number above 1", ratio)
        if not growth and ratio:
            place.fail(f"{key}.ratio_at_most", "none, because no growth is measured", ratio)


def _check_traffic(target: Target, ranks: int, place: KeyPath) -> None:
    if target.network_rate < 0:
        place.fail("network_rate", "bytes per second, or 0", target.network_rate)
    if not 0 <= target.traffic_share < math.inf:
        place.fail("traffic_share", "a share of a time, or 0", target.traffic_share)
    if target.network_rate and target.traffic_share:
        place.fail("traffic_share", "none beside a network_rate", target.traffic_share)
    timed = ranks > 0 and target.quantity is Quantity.TIME
    for key, value in (
        ("network_rate", target.network_rate),
        ("traffic_share", target.traffic_share),
    ):
        if value and not timed:
            place.fail(key, "none, because this is no time of ranks", value)
