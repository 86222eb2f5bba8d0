"""The time that nothing can beat: bytes over bandwidth, or operations over rate.

Takes: bytes, operations and measured ceilings. Gives: `floor_ns`, `floor_fraction`, `beats_floor`.
Does not cover: how many bytes a problem must move (its author says so).
"""

from grader.device.ceilings import Ceilings
from grader.errors import AuthorError

SLACK = 0.15
"""How far below the floor a time may lie before it is called impossible.

Two measurements of a ceiling differ by a few per cent, and data that is easy on the device (zeros)
ran up to 13 % faster than the random data that ceilings are measured with.
"""


def floor_ns(bytes_moved: int, flops: int, ceilings: Ceilings, *, dtype: str = "") -> float:
    """Return the least time in ns for moving bytes and doing operations, both at once.

    Args:
        bytes_moved: the fewest that must move: each input read once, each output written once.
        flops: the fewest floating-point operations.
        ceilings: of the device.
        dtype: of the operations, without `torch.`; without it the fastest dtype's rate counts.

    Raises:
        AuthorError: if a count is negative.

    Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for
    multicore architectures", Communications of the ACM 52(4), 2009.
    """
    if bytes_moved < 0 or flops < 0:
        raise AuthorError(f"a case counts {bytes_moved} bytes and {flops} operations")
    seconds = max(bytes_moved / ceilings.bytes_per_s, flops / ceilings.flops_per_s(dtype))
    return seconds * 1e9


def floor_fraction(time_ns: float, floor: float) -> float:
    """Return how much of the possible speed a time in ns reaches: 1 at the floor, above 1 never.

    Raises:
        ValueError: if the time is not positive.
    """
    if time_ns <= 0:
        raise ValueError(f"a time of {time_ns} ns")
    return floor / time_ns


def beats_floor(time_ns: float, floor: float, *, slack: float = SLACK) -> str:
    """Return the evidence that a time in ns is impossible; empty if it is possible."""
    if time_ns >= floor * (1 - slack):
        return ""
    return (
        f"{time_ns / 1e3:.3f} us is below the roofline floor of {floor / 1e3:.3f} us "
        f"(slack {slack:.0%})"
    )
