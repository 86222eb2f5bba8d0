"""Verdicts on performance: what a decision earns, and how a student reads it.

Takes: a planned target, its measurement, the judgements on its problem's checks. Gives: a
`CheckJudgement`. Does not cover: statistics (see `performance.decide.metrics`). Pure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from grader.assignment.plan import PlannedProblem, PlannedTarget
from grader.assignment.target import Quantity
from grader.evidence.faults import FaultKind
from grader.evidence.samples import TargetMeasurement
from grader.judge.judgement import OUR_CAUSES, Cause, CheckJudgement, TargetFinding, Verdict
from grader.judge.rule import CAUSE_OF_FAULT_IN_TARGETS, describe_fault, first_trouble, is_wrong
from grader.performance.decide.metric import Kind, Metric
from grader.performance.decide.metrics import MOST_LOGARITHM, Decision, decide
from grader.performance.decide.plausibility import broken_bounds, roofline
from grader.performance.decide.sequential_test import Outcome

TOO_MUCH = {
    Quantity.TIME: Cause.TOO_SLOW,
    Quantity.GROWTH: Cause.TOO_SLOW,
    Quantity.MEMORY: Cause.TOO_MUCH_MEMORY,
    Quantity.TRAFFIC: Cause.TOO_MUCH_TRAFFIC,
}
"""The cause of a figure that does not pass."""

_VERDICTS = {
    Outcome.PASS: (Verdict.PASS, Cause.NONE),
    Outcome.FAIL: (Verdict.FAIL, Cause.NONE),  # the cause is the quantity's
    Outcome.OPEN: (Verdict.UNGRADED, Cause.INFRASTRUCTURE),
    Outcome.TOO_NOISY: (Verdict.UNGRADED, Cause.INFRASTRUCTURE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ruling:
    """What becomes of a target, before it is written down."""

    verdict: Verdict
    cause: Cause
    summary: str
    share: float = 0.0
    finding: tuple[TargetFinding, ...] = ()


def judge_target(
    problem: PlannedProblem,
    target: PlannedTarget,
    checks: Sequence[CheckJudgement],
    measured: Sequence[TargetMeasurement],
) -> CheckJudgement:
    """Decide one target.

    Args:
        problem: the problem that it belongs to.
        target: what was asked.
        checks: the judgements on the checks of the same problem.
        measured: its measurement; none if it was not measured.
    """
    ruling = _before_measuring(target, checks)
    if ruling is None and not measured:
        ruling = _ours(Cause.INFRASTRUCTURE, "This was not measured.")
    if ruling is None:
        ruling = _rule(target, measured[0])
    return CheckJudgement(
        problem=problem.name,
        check=target.name,
        title=target.title,
        verdict=ruling.verdict,
        cause=ruling.cause,
        points=round(target.points * ruling.share, 2),
        max_points=target.points,
        evidence=target.evidence,
        summary=ruling.summary,
        findings=(),
        cases=0,
        finding=ruling.finding,
    )


def _before_measuring(target: PlannedTarget, checks: Sequence[CheckJudgement]) -> _Ruling | None:
    """Rule on what needs no measurement; None if it needs one."""
    if not target.tiers:
        return _ours(Cause.NO_DEVICE, "This needs a device that this machine does not have.")
    ours = [c for c in checks if c.cause in OUR_CAUSES]
    failed = [c for c in checks if c.verdict is Verdict.FAIL]
    if failed:
        return _Ruling(
            verdict=Verdict.FAIL,
            cause=failed[0].cause,
            summary=f"Speed and memory count once every check above passes; "
            f"{len(failed)} of {len(checks)} did not.",
        )
    if ours:
        return _ours(ours[0].cause, "The checks above could not be judged.")
    return None


def _rule(target: PlannedTarget, measured: TargetMeasurement) -> _Ruling:
    if measured.reference_faults:
        fault = measured.reference_faults[0]
        author = fault.kind is FaultKind.AUTHOR
        return _ours(Cause.AUTHOR if author else Cause.INFRASTRUCTURE, fault.message)
    wrong = next((o for o in measured.observations if is_wrong(o, target.tolerance)), None)
    if wrong is not None:
        return _theirs(Cause.WRONG_VALUE, f"A measured call was wrong: {wrong.label}.")
    if measured.faults:
        fault = measured.faults[0]
        said = describe_fault(fault)
        cause = CAUSE_OF_FAULT_IN_TARGETS[fault.kind]
        if cause in OUR_CAUSES:
            return _ours(cause, f"A measured call did not come to its end: {said}.")
        if any(first_trouble(again, target.tolerance) is None for again in measured.control_runs):
            words = "A measured call works only with an operation that this problem denies"
            return _theirs(Cause.FORBIDDEN, f"{words}: {said}.")
        return _theirs(cause, f"A measured call did not come to its end: {said}.")
    return _rule_metrics(target, measured, decide(target, target.tiers[0], measured))


def _rule_metrics(
    target: PlannedTarget, measured: TargetMeasurement, decision: Decision
) -> _Ruling:
    if decision.unmetered:
        words = "This machine gives the grader no control groups, which count memory and traffic."
        return _ours(Cause.NO_DEVICE, words)
    finding = TargetFinding(
        metrics=decision.metrics,
        tier=target.tiers[0],
        roofline=roofline(measured),
        broken=broken_bounds(measured),
        included_pairs=decision.included_pairs,
        all_pairs=decision.all_pairs,
    )
    said = ". ".join(describe(metric) for metric in decision.metrics[: decision.deciding]) + "."
    verdict, cause = _VERDICTS[decision.outcome]
    if finding.broken:
        verdict, cause = Verdict.NEEDS_REVIEW, Cause.NONE
        said = "A figure lies outside what this machine or arithmetic allows."
    elif verdict is Verdict.FAIL:
        cause = TOO_MUCH[target.quantity]
    elif verdict is Verdict.UNGRADED:
        why = decision.held_back
        noise = f"The device was held back: {why}" if why else "The machine was too noisy to decide"
        said = f"{noise}. {said}"
    share = decision.share if verdict is Verdict.PASS else 0.0
    return _Ruling(verdict=verdict, cause=cause, summary=said, share=share, finding=(finding,))


def describe(metric: Metric) -> str:
    """Return a figure as a student reads it, with its interval and the tier."""
    low, high = metric.interval.low, metric.interval.high
    name = metric.kind.value[0].upper() + metric.kind.value[1:]
    if metric.kind.is_slope:
        tiers = f"passes up to {metric.pass_at:.2f}, full points up to {metric.full_at:.2f}"
        return (
            f"{name} beyond the reference's: size to the power of {metric.interval.estimate:.2f} "
            f"({low:.2f} to {high:.2f}; {tiers})"
        )
    base = "what arithmetic says" if metric.kind is Kind.TRAFFIC else "the reference's"
    limit = _exp(metric.pass_at)
    tiers = f"passes up to {limit:.2f}"
    if metric.full_at < metric.pass_at:
        tiers += f", full points up to {_exp(metric.full_at):.2f}"
    if metric.kind is Kind.MEMORY_CAP:  # seen to be too little and to suffice; nothing lies between
        return f"{name}: more than {_exp(low):.2f}, at most {_exp(high):.2f} times {base} ({tiers})"
    return (
        f"{name}: {_exp(metric.interval.estimate):.2f} times {base} "
        f"({_exp(low):.2f} to {_exp(high):.2f}; {tiers})"
    )


def _exp(logarithm: float) -> float:
    """Return e to a power; infinity where a number has no room for it."""
    return math.exp(logarithm) if logarithm < MOST_LOGARITHM else math.inf


def _ours(cause: Cause, summary: str) -> _Ruling:
    return _Ruling(verdict=Verdict.UNGRADED, cause=cause, summary=summary)


def _theirs(cause: Cause, summary: str) -> _Ruling:
    return _Ruling(verdict=Verdict.FAIL, cause=cause, summary=summary)
