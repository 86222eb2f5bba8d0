"""The noun of the judging stage: verdicts, causes and points.

Takes: nothing. Gives: `Judgement` and its parts. Does not cover: how they are decided (`judge`).
"""

from dataclasses import dataclass
from enum import StrEnum

from grader.assignment.table import Evidence
from grader.assignment.target import Tier
from grader.performance.decide.metric import Metric, Roofline


class Verdict(StrEnum):
    """What became of a check. FAIL is the student's, UNGRADED is ours, HELD waits for a human."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    NEEDS_REVIEW = "NEEDS_REVIEW"
    UNGRADED = "UNGRADED"


class Cause(StrEnum):
    """Why a check did not pass."""

    NONE = "none"
    WRONG_VALUE = "wrong_value"
    WRONG_ERROR = "wrong_error"
    TOO_SLOW = "too_slow"
    TOO_MUCH_MEMORY = "too_much_memory"
    TOO_MUCH_TRAFFIC = "too_much_traffic"
    CRASH = "crash"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    MISSING = "missing"
    FORBIDDEN = "forbidden"
    INFRASTRUCTURE = "infrastructure"
    AUTHOR = "author"
    NO_DEVICE = "no_device"


OUR_CAUSES = frozenset({Cause.INFRASTRUCTURE, Cause.AUTHOR, Cause.NO_DEVICE})
"""Causes of UNGRADED: never a zero, can be graded again."""


class Status(StrEnum):
    """The state of a whole submission, as `grades.csv` shows it."""

    GRADED = "graded"
    PROVISIONAL = "provisional"
    NEEDS_REVIEW = "needs_review"
    UNGRADED = "ungraded"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFinding:
    """Why one instance of a case did not pass.

    Attributes:
        public: whether `expected` and `got` may be shown to the student.
        index: number of the instance among those of its visibility.
        summary: safe for students: what was compared and the size of the error, without values.
        expected: the expected value in short.
        got: the reply in short.
        where: place of the worst entry, or place in the student's source.
        stacks: where each rank of a group stood, in its own words; may be shown as `got` may.
    """

    public: bool
    index: int
    summary: str
    expected: str
    got: str
    where: str
    stacks: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFinding:
    """What the verdict on a target stands on.

    Attributes:
        metrics: compared quantities with their intervals, those that decide first.
        tier: of the device.
        roofline: how near to what the machine can do; none if no floor is known.
        broken: bounds that no honest measurement breaks; the points wait for a person.
        included_pairs: pairs of runs that were used.
        all_pairs: pairs of runs that were measured.
    """

    metrics: tuple[Metric, ...]
    tier: Tier
    roofline: tuple[Roofline, ...]
    broken: tuple[str, ...]
    included_pairs: int
    all_pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckJudgement:
    """The verdict on one check or target.

    Attributes:
        problem: name of the problem.
        check: name of the check.
        title: what is checked, as a student reads it.
        verdict: what became of it.
        cause: why it did not pass; NONE if it did.
        points: points earned; 0 unless PASS, and of a target a share.
        max_points: published weight.
        evidence: what the verdict stands on.
        summary: one sentence for the student.
        findings: instances that did not pass.
        cases: instances that were planned; 0 for a target.
        finding: of a target that was measured and compared, one; else none.
    """

    problem: str
    check: str
    title: str
    verdict: Verdict
    cause: Cause
    points: float
    max_points: float
    evidence: Evidence
    summary: str
    findings: tuple[CaseFinding, ...]
    cases: int
    finding: tuple[TargetFinding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """All verdicts on one submission.

    Attributes:
        status: the state of the whole submission.
        score: sum of the points of all checks that passed.
        max_score: sum of all published weights.
        ungraded_points: weight of the checks that we failed to judge; not part of `score`.
        review_points: weight of the checks that wait for a human; not part of `score`.
        checks: of checks and targets, in the plan's order.
        message: for a rejected submission, what was wrong with the file; else empty.
    """

    status: Status
    score: float
    max_score: float
    ungraded_points: float
    review_points: float
    checks: tuple[CheckJudgement, ...]
    message: str = ""
