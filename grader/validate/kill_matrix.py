"""Builds the kill matrix: which check catches which known-wrong submission.

`build_matrix` compares judgements of known submissions with what is known of them. It runs nothing.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from grader.judge.judgement import Cause, CheckJudgement, Judgement, Verdict
from grader.validate.known_submission import Kind, KnownSubmission


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownResult:
    """The result of one known submission.

    Attributes:
        max_score: points that this machine can judge.
        failed: checks that failed, with their causes.
        complaints: where the result differs from what is known; empty if it does not.
        cpu_s: processor seconds that its run took, in the grader and in its sandboxed processes.
    """

    name: str
    kind: Kind
    score: float
    max_score: float
    failed: tuple[tuple[str, Cause], ...]
    needs_review: tuple[str, ...]
    complaints: tuple[str, ...]
    cpu_s: float = 0.0

    @property
    def percent(self) -> float:
        """Score as a percentage of what this machine can judge."""
        return 100.0 * self.score / self.max_score if self.max_score else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check catches.

    Attributes:
        check: `problem.check`.
        catches: wrong submissions that fail it.
        alone: those of them that fail nothing else and need no review. A check that varies one
            thing at a time is not joined by those that vary everything, which fail as well.
    """

    check: str
    catches: tuple[str, ...]
    alone: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The validation of one assignment.

    Attributes:
        known_submissions: starter, solution, right and wrong submissions.
        checks: the kill matrix, by check.
        complaints: everything that must be fixed; empty if the assignment is sound.
    """

    assignment: str
    known_submissions: tuple[KnownResult, ...]
    checks: tuple[CheckResult, ...]
    complaints: tuple[str, ...]


def build_matrix(
    assignment: str,
    judged: Sequence[tuple[KnownSubmission, Judgement]],
    other_complaints: Sequence[str] = (),
    *,
    cpu_s: Mapping[Path, float] = MappingProxyType({}),
    wide: Set[str] = frozenset(),
) -> Validation:
    """Compare every known submission with what is known of it, and list what each check catches.

    `cpu_s` has the processor seconds of known submissions, by their path; `wide` names the checks
    that play rows of factors.
    """
    known_submissions = tuple(
        replace(_compare(known, judgement, wide), cpu_s=cpu_s.get(known.path, 0.0))
        for known, judgement in judged
    )
    # A target that needs a missing device has that cause only where the checks of a problem pass.
    solutions = (judgement for known, judgement in judged if known.kind is Kind.SOLUTION)
    criteria = [check for judgement in solutions for check in judgement.checks]
    names = [_name(c) for c in criteria if c.cause is not Cause.NO_DEVICE]
    checks = tuple(_catches(name, known_submissions, wide) for name in names)
    complaints = [complaint for result in known_submissions for complaint in result.complaints]
    complaints += [
        f"{result.check}: no wrong submission fails this and nothing else; "
        "add one to wrong/, or remove the check"
        for result in checks
        if not result.alone
    ]
    return Validation(
        assignment=assignment,
        known_submissions=known_submissions,
        checks=checks,
        complaints=(*complaints, *other_complaints),
    )


def _catches(check: str, known_submissions: Sequence[KnownResult], wide: Set[str]) -> CheckResult:
    """Return what a check catches; the checks in `wide` may catch it as well."""
    wrong = [result for result in known_submissions if result.kind is Kind.WRONG]
    catches = [r for r in wrong if check in (name for name, _ in r.failed)]
    problem = check.partition(".")[0]
    beside = {one for one in wide if one.startswith(f"{problem}.") and check not in wide}
    return CheckResult(
        check=check,
        catches=tuple(r.name for r in catches),
        alone=tuple(
            r.name
            for r in catches
            if {name for name, _ in r.failed} <= {check, *beside} and not r.needs_review
        ),
    )


def _compare(known: KnownSubmission, judgement: Judgement, wide: Set[str]) -> KnownResult:
    either = _either(known, wide)
    failed = {_name(c): c for c in _own_failures(known, judgement)}
    ungraded = {_name(c): c for c in judgement.checks if c.verdict is Verdict.UNGRADED}
    needs_review = {_name(c): c for c in judgement.checks if c.verdict is Verdict.NEEDS_REVIEW}
    complaints = [
        f"{known.path}: {name} could not be judged: {c.summary}"
        for name, c in ungraded.items()
        if c.cause is not Cause.NO_DEVICE
    ]
    passed = sorted(known.fails - either - failed.keys() - needs_review.keys() - ungraded.keys())
    complaints += [f"{known.path}: should fail {', '.join(passed)}, but passes"] if passed else []
    complaints += [
        f"{known.path}: {name} should not need review: {needs_review[name].summary}"
        for name in sorted(needs_review.keys() - known.needs_review)
    ]
    complaints += [
        f"{known.path}: {name} should need review, but does not"
        for name in sorted(known.needs_review - needs_review.keys() - ungraded.keys())
    ]
    unwanted: dict[Cause, list[str]] = {}
    for name in sorted(failed.keys() - known.fails - known.misses - either):
        unwanted.setdefault(failed[name].cause, []).append(name)
    complaints += [
        f"{known.path}: should pass {', '.join(names)}, but fails "
        f"({cause.value}: {failed[names[0]].summary})"
        for cause, names in unwanted.items()
    ]
    complaints += _wrong_causes(known, failed)
    return KnownResult(
        name=known.name,
        kind=known.kind,
        score=judgement.score,
        max_score=judgement.max_score - judgement.ungraded_points,
        failed=tuple((name, check.cause) for name, check in failed.items()),
        needs_review=tuple(needs_review),
        complaints=tuple(complaints),
    )


def _either(known: KnownSubmission, wide: Set[str]) -> Set[str]:
    """Return the wide checks that it may fail or pass: beside narrow ones that it must fail.

    Whether two things meet that it gets wrong depends on the seed.
    """
    problems = {name.partition(".")[0] for name in known.fails - wide}
    return {name for name in wide if name.partition(".")[0] in problems} - {known.caught_by}


def _own_failures(known: KnownSubmission, judgement: Judgement) -> list[CheckJudgement]:
    """Return what failed by itself: a target also fails where an essential check does."""
    failed = [c for c in judgement.checks if c.verdict is Verdict.FAIL]
    if known.kind is Kind.STARTER:
        return failed
    unsound = {c.problem for c in failed if c.cases and c.blocks_targets}
    return [c for c in failed if c.cases or c.problem not in unsound]


def _wrong_causes(known: KnownSubmission, failed: dict[str, CheckJudgement]) -> list[str]:
    """Return a complaint for every check that fails with another cause than the known one."""
    if known.kind is Kind.STARTER:
        return [
            f"{known.path}: {name} should be missing, is {check.cause.value}: {check.summary}"
            for name, check in failed.items()
            if check.cause is not Cause.MISSING
        ]
    caught = failed.get(known.caught_by)
    if caught is not None and caught.cause not in known.causes:
        return [
            f"{known.path}: {known.caught_by} should fail with "
            f"{' or '.join(sorted(known.causes))}, "
            f"fails with {caught.cause.value}: {caught.summary}"
        ]
    return []


def _name(check: CheckJudgement) -> str:
    return f"{check.problem}.{check.check}"
