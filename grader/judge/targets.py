"""Judges performance targets: verdict, cause, points, and the sentence that a student reads.

Input: a planned target, its measurement, and the judgements on its problem's checks. Output: a
`CheckJudgement`. Pure. Statistics: `performance.decide.metrics`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from grader.assignment.plan import PlannedProblem, PlannedTarget
from grader.assignment.target import CheckKind, Quantity
from grader.evidence.faults import FaultKind
from grader.evidence.samples import TargetMeasurement
from grader.judge.judgement import OUR_CAUSES, Cause, CheckJudgement, TargetFinding, Verdict
from grader.judge.rule import (
    CAUSE_OF_FAULT_IN_TARGETS,
    describe_fault,
    describe_wrong,
    first_trouble,
    is_wrong,
)
from grader.performance.decide.interval import Kind, Metric, exp_ratio
from grader.performance.decide.metrics import Decision, decide
from grader.performance.decide.plausibility import broken_bounds, roofline
from grader.performance.decide.sequential_test import Outcome

TOO_MUCH = {
    Quantity.TIME: Cause.TOO_SLOW,
    Quantity.GROWTH: Cause.TOO_SLOW,
    Quantity.MEMORY: Cause.TOO_MUCH_MEMORY,
    Quantity.TRAFFIC: Cause.TOO_MUCH_TRAFFIC,
}
"""The cause of a metric that does not pass."""

CHECK_TIMED_CALLS = (
    "Timed calls use other inputs than the checks, and larger ones: run your code on the largest "
    "size of this target, several times in one process."
)
MAX_SAID = 400
"""Characters of an exception's text in a sentence."""
IMPLAUSIBLE = (
    "The measurement is physically implausible: less time, memory or network traffic than this "
    "machine and this amount of work allow. A member of the course staff will review it; until "
    "then these points are neither earned nor lost."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reasoned:
    """The verdict on a target with its reason."""

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
    """Decide a target from the judgements on its problem's checks and its measurement, if any."""
    ruling = _without_measurement(target, checks, measured) or _rule(target, measured[0])
    if ruling.verdict is Verdict.PASS:
        ruling = _charge_for_edges(ruling, problem, checks)
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


def _without_measurement(
    target: PlannedTarget,
    checks: Sequence[CheckJudgement],
    measured: Sequence[TargetMeasurement],
) -> _Reasoned | None:
    """Return the verdict if it needs no measurement or there is none, else None.

    Failed checks come before a missing device: points that nobody can earn any more are not open.
    """
    failed = [c for c in checks if c.blocks_targets and c.verdict is Verdict.FAIL]
    if failed:
        essential = sum(check.kind is CheckKind.ESSENTIAL for check in checks)
        return _Reasoned(
            verdict=Verdict.FAIL,
            cause=failed[0].cause,
            summary=f"Not measured: {len(failed)} of {essential} essential checks above did not "
            f"pass. Fix {failed[0].check} first: speed and memory count once all of them pass.",
        )
    if not target.tiers:
        return _ours(
            Cause.NO_DEVICE,
            "This needs a device (a GPU, for example) that the grading machine does not have. The "
            "points stay open until it is graded on a machine that has one.",
        )
    ours = [c for c in checks if c.cause in OUR_CAUSES]
    if ours:
        return _ours(
            ours[0].cause,
            "Not measured, because the grader could not judge the checks of this problem. That is "
            "not your fault; the course staff can grade it again.",
        )
    if not measured:
        return _ours(
            Cause.INFRASTRUCTURE,
            "The grader did not measure this. That is not your fault and costs no points; the "
            "course staff can grade it again.",
        )
    return None


def _charge_for_edges(
    ruling: _Reasoned, problem: PlannedProblem, checks: Sequence[CheckJudgement]
) -> _Reasoned:
    """Take the published shares of the edge checks that failed from a target that passed."""
    shares = {check.name: check.share for check in problem.checks}
    failed = [c for c in checks if c.kind is CheckKind.EDGE and c.verdict is Verdict.FAIL]
    if not failed:
        return ruling
    lost = sum(shares[check.check] for check in failed)
    names = " and ".join(check.check for check in failed)
    text = f"{ruling.summary} {100 * lost:.0f} % of these points are lost, because {names} failed."
    return replace(ruling, share=ruling.share * max(1 - lost, 0.0), summary=text)


def _rule(target: PlannedTarget, measured: TargetMeasurement) -> _Reasoned:
    if measured.reference_faults:
        fault = measured.reference_faults[0]
        author = fault.kind is FaultKind.AUTHOR
        return _ours(Cause.AUTHOR if author else Cause.INFRASTRUCTURE, fault.message)
    wrong = next((o for o in measured.observations if is_wrong(o, target.tolerance)), None)
    if wrong is not None:
        how = describe_wrong(wrong, target.tolerance)
        return _theirs(
            Cause.WRONG_VALUE, f"A timed call gave a wrong result: {how} {CHECK_TIMED_CALLS}"
        )
    if measured.faults:
        fault = measured.faults[0]
        what = describe_fault(fault)
        cause = CAUSE_OF_FAULT_IN_TARGETS[fault.kind]
        if cause in OUR_CAUSES:
            return _ours(cause, f"A timed call did not finish, which is not your fault: {what}.")
        if any(first_trouble(again, target.tolerance) is None for again in measured.control_runs):
            return _theirs(
                Cause.FORBIDDEN,
                "A timed call works only with an operation that this problem does not allow: "
                f"{what}. Compute it in another way.",
            )
        said = "".join(
            f" With public inputs of the same size it said: {again.faults[0].detail[:MAX_SAID]}."
            for again in measured.public_runs
            if again.faults and again.faults[0].detail
        )
        return _theirs(cause, f"A timed call did not finish: {what}.{said} {CHECK_TIMED_CALLS}")
    return _rule_metrics(target, measured, decide(target, target.tiers[0], measured))


def _rule_metrics(
    target: PlannedTarget, measured: TargetMeasurement, decision: Decision
) -> _Reasoned:
    if decision.unmetered:
        return _ours(
            Cause.NO_DEVICE,
            "Memory and network traffic are counted by Linux cgroups, and the grader may not use "
            "them on this machine. The points stay open until it is graded on one that allows it.",
        )
    finding = TargetFinding(
        metrics=decision.metrics,
        tier=target.tiers[0],
        roofline=roofline(measured),
        broken=broken_bounds(measured),
        included_pairs=decision.included_pairs,
        all_pairs=decision.all_pairs,
    )
    text = ". ".join(describe(metric) for metric in decision.metrics[: decision.deciding]) + "."
    share = 0.0
    if finding.broken:
        verdict, cause, text = Verdict.NEEDS_REVIEW, Cause.NONE, IMPLAUSIBLE
    elif decision.outcome is Outcome.PASS:
        verdict, cause, share = Verdict.PASS, Cause.NONE, decision.share
    elif decision.outcome is Outcome.FAIL:
        verdict, cause = Verdict.FAIL, TOO_MUCH[target.quantity]
    else:
        verdict, cause, why = Verdict.UNGRADED, Cause.INFRASTRUCTURE, decision.throttling
        noise = f"The device throttled: {why}" if why else "The machine was too noisy to decide"
        text = f"{noise}. This is not a zero; the course staff can measure it again. {text}"
    return _Reasoned(verdict=verdict, cause=cause, summary=text, share=share, finding=(finding,))


def describe(metric: Metric) -> str:
    """Return a metric as a student reads it, with its interval and the tier."""
    low, high = metric.interval.low, metric.interval.high
    name = metric.kind.value[0].upper() + metric.kind.value[1:]
    if metric.kind.is_slope:
        tiers = f"passes up to {metric.pass_at:.2f}, full points up to {metric.full_at:.2f}"
        return (
            f"{name} beyond the reference's: size to the power of {metric.interval.estimate:.2f} "
            f"({low:.2f} to {high:.2f}; {tiers})"
        )
    base = "what must be sent" if metric.kind is Kind.TRAFFIC else "the reference's"
    values = (metric.interval.estimate, low, high, metric.pass_at, metric.full_at)
    estimate, least, most, passing, full = (f"{exp_ratio(value):.2f}" for value in values)
    tiers = f"passes up to {passing}"
    if metric.full_at < metric.pass_at:
        tiers += f", full points up to {full}"
    if metric.kind is Kind.MEMORY_CAP:  # the caps between which the need lies; there is no estimate
        return f"{name}: more than {least}, at most {most} times {base} ({tiers})"
    return f"{name}: {estimate} times {base} ({least} to {most}; {tiers})"


def _ours(cause: Cause, summary: str) -> _Reasoned:
    return _Reasoned(verdict=Verdict.UNGRADED, cause=cause, summary=summary)


def _theirs(cause: Cause, summary: str) -> _Reasoned:
    return _Reasoned(verdict=Verdict.FAIL, cause=cause, summary=summary)
