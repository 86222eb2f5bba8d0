"""The verdict on a submission of known slowness, and whether it is wrong.

How often each verdict occurs is counted in `benchmarks.verdicts.replay`.
"""

from enum import StrEnum

from grader.performance.decide.metrics import Decision
from grader.performance.decide.sequential_test import Outcome


class Verdict(StrEnum):
    """The verdict of a series.

    PASS: the whole interval is at the target or under it.
    PASS_WITHIN_NOISE: the interval contains the target, and it is within the reference's noise.
    FAIL: the whole interval is over the target, or the submission itself makes it wide.
    UNGRADED: too noisy or too short to be graded.
    """

    PASS = "pass"
    PASS_WITHIN_NOISE = "pass within noise"
    FAIL = "fail"
    UNGRADED = "ungraded"

    def is_wrong(self, *, over: bool) -> bool:
        """Return whether it passes a submission over the target, or fails one that is not."""
        return self in ((Verdict.PASS, Verdict.PASS_WITHIN_NOISE) if over else (Verdict.FAIL,))


def verdict_of(decision: Decision) -> Verdict:
    """Return the verdict of a series from the decision of its last stage."""
    if decision.outcome is Outcome.FAIL:
        return Verdict.FAIL
    if decision.outcome is not Outcome.PASS:
        return Verdict.UNGRADED
    metric = decision.metrics[0]
    return Verdict.PASS if metric.interval.high <= metric.pass_at else Verdict.PASS_WITHIN_NOISE
