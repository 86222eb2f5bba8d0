"""Submissions that are slower than the reference by an exactly known factor.

Their work is a number of equal small matrix products, spread over the calls in several patterns.
Every pattern does the same work in each process: the total time of a process does not depend on the
pattern, but a method that uses medians or the first calls is fooled. Their assignment is in
`benchmarks.verdicts.known_work`.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from grader.intake.submission import Submission

CALLS_PER_RUN = 2
RUNS_PER_FORK = 4
CALLS_PER_FORK = CALLS_PER_RUN * RUNS_PER_FORK
REFERENCE_UNITS = 1280
"""Products per call of the reference: 10 to 20 ms of processor time."""
PASS_AT = 1.25
FULL_AT = 1.0
TARGET_UNITS = round(REFERENCE_UNITS * PASS_AT)
"""Products per call of a submission exactly at the target."""
SAME = REFERENCE_UNITS / TARGET_UNITS
"""The factor of a submission that does as much work as the reference."""


class Pattern(StrEnum):
    """How a submission spreads its work over the calls of a process.

    STEADY: every call does the same work.
    ALTERNATING: half as much and one and a half times as much, in turns.
    FAST_FIRST: half as much in the first half of the calls, then one and a half times as much.
    """

    STEADY = "steady"
    ALTERNATING = "alternating"
    FAST_FIRST = "fast at first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slowness:
    """The known slowness of a submission.

    Attributes:
        factor: its work as a multiple of the work exactly at the target.
        pattern: how the work is spread over calls.
    """

    factor: float
    pattern: Pattern

    @property
    def units(self) -> int:
        """Products per call, on average."""
        return round(TARGET_UNITS * self.factor)

    @property
    def log_ratio(self) -> float:
        """Logarithm of the ratio of its work to the reference's."""
        return math.log(self.units / REFERENCE_UNITS)


def work_counts(slowness: Slowness) -> tuple[int, ...]:
    """Return the products of each call of a process; they add up to `CALLS_PER_FORK` × `units`."""
    mean = slowness.units
    little = mean // 2
    much = 2 * mean - little
    if slowness.pattern is Pattern.STEADY:
        return (mean,) * CALLS_PER_FORK
    if slowness.pattern is Pattern.ALTERNATING:
        return (little, much) * (CALLS_PER_FORK // 2)
    return (little,) * (CALLS_PER_FORK // 2) + (much,) * (CALLS_PER_FORK // 2)


def source_of(counts: tuple[int, ...]) -> str:
    """Return a correct module whose calls do `counts` matrix products, one count per call."""
    return f'''"""Twice a number, after an amount of work that is known."""

import torch

COUNTS = {counts!r}
LEFT = torch.full((64, 64), 0.5)
RIGHT = torch.full((64, 64), 0.25)
OUT = torch.empty(64, 64)
called = 0


def work(count):
    for _ in range(count):
        torch.mm(LEFT, RIGHT, out=OUT)


def double(number: int) -> int:
    """Return twice the number."""
    global called
    work(COUNTS[called % len(COUNTS)])
    called += 1
    return 2 * number


work(100)  # warm-up: the extra cost of the first products belongs to no call
'''


def submission_of(slowness: Slowness) -> Submission:
    """Return a submission of the given slowness."""
    return Submission.of_text("known", source_of(work_counts(slowness)))
