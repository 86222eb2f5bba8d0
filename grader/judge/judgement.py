"""The result of judging: verdicts, causes and points, as they are stored and reported.

How they are decided: `judge.judge` for checks, `judge.targets` for performance targets.
"""

from dataclasses import dataclass
from enum import StrEnum

from grader.assignment.table import Evidence
from grader.assignment.target import CheckKind, Tier
from grader.performance.decide.interval import Metric, Roofline


class Verdict(StrEnum):
    """The result of a check or target.

    FAIL is the student's, UNGRADED is our failure, NEEDS_REVIEW waits for a person.
    """

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
"""Causes of UNGRADED: it is never a zero and can be graded again."""


class Status(StrEnum):
    """The state of a whole submission, as `grades.csv` shows it."""

    GRADED = "graded"
    PROVISIONAL = "provisional"
    NEEDS_REVIEW = "needs_review"
    UNGRADED = "ungraded"
    REJECTED = "rejected"

    @property
    def has_score(self) -> bool:
        """Whether the points of such a submission are a score; else they are not even a zero."""
        return self not in (Status.UNGRADED, Status.REJECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFinding:
    """Why one instance of a case did not pass.

    Attributes:
        public: whether `expected` and `got` may be shown to the student.
        index: number of the instance among those of its visibility.
        summary: safe to show to students: what was compared and the size of the error, no values.
        where: index of the worst entry, or location in the student's source.
        stacks: the stack trace of each rank of a process group; may be shown when `got` may.
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
    """The evidence for the verdict on a target.

    Attributes:
        metrics: compared quantities with their intervals; those that decide come first.
        tier: limits that hold on the device that was used.
        roofline: how near both sides came to the roofline; none if it is not known.
        broken: evidence of bounds that no honest measurement breaks; then a person decides.
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
        title: what is checked, as a student reads it.
        points: points earned; 0 unless PASS, and of a target a share.
        max_points: published weight.
        summary: one sentence for the student.
        findings: instances that did not pass.
        cases: instances that were planned; 0 for a target.
        finding: exactly one for a target that was measured and compared, else none.
        kind: of a check: what failing it costs of its problem's performance points.
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
    kind: CheckKind = CheckKind.ESSENTIAL

    @property
    def blocks_targets(self) -> bool:
        """Whether the targets of its problem are not measured because of it.

        An edge check that we could not judge blocks them as well: what it costs is not known.
        """
        if self.kind is CheckKind.EDGE:
            return self.verdict is Verdict.UNGRADED
        return self.verdict is not Verdict.PASS


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """All verdicts on one submission.

    Attributes:
        score: sum of the points of all checks that passed.
        max_score: sum of all published weights.
        ungraded_points: weight of the checks that we could not judge; not part of `score`.
        review_points: weight of the checks that wait for a person; not part of `score`.
        checks: in the plan's order; none of a rejected submission.
        message: for a rejected submission, what was wrong with the file; else empty.
    """

    status: Status
    score: float
    max_score: float
    ungraded_points: float
    review_points: float
    checks: tuple[CheckJudgement, ...]
    message: str = ""
