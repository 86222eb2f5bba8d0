"""How a verdict on a submission of known slowness ended, and whether that is wrong.

Takes: a decision. Gives: `Verdict`. Does not cover: how often (see `benchmarks.verdicts.replay`).
"""

from enum import StrEnum

from grader.performance.decide.metrics import Decision
from grader.performance.decide.sequential_test import Outcome


class Verdict(StrEnum):
    """How a series ended.

    PASS: the whole interval is at the target or under it.
    DOUBT: it holds the target, and the reference's own spread explains that: it passes.
    FAIL: the whole interval is over the target, or its width is home-made.
    UNGRADED: too noisy, or too short, to be graded.
    """

    PASS = "pass"
    DOUBT = "pass in doubt"
    FAIL = "fail"
    UNGRADED = "ungraded"

    def is_wrong(self, *, over: bool) -> bool:
        """Return whether it passes what is over the target, or fails what is not."""
        return self in ((Verdict.PASS, Verdict.DOUBT) if over else (Verdict.FAIL,))


def verdict_of(decision: Decision) -> Verdict:
    """Return how a series with such a last look ended."""
    if decision.outcome is Outcome.FAIL:
        return Verdict.FAIL
    if decision.outcome is not Outcome.PASS:
        return Verdict.UNGRADED
    metric = decision.metrics[0]
    return Verdict.PASS if metric.interval.high <= metric.pass_at else Verdict.DOUBT
