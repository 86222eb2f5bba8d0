"""Judges a measurement: a check passes only if every instance of its case passes.

Input: a plan (tolerances and points) and a measurement. Output: a `Judgement`. Pure, so that a
stored measurement can be judged again under other tolerances or points.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from grader.assignment.plan import Plan, PlannedCheck, PlannedProblem
from grader.evidence.faults import LOAD_FAILED, Fault, FaultKind
from grader.evidence.measurement import Measurement, ProblemMeasurement
from grader.evidence.observations import CaseMeasurement, ErrorObservation, ValueObservation
from grader.judge.judgement import (
    OUR_CAUSES,
    CaseFinding,
    Cause,
    CheckJudgement,
    Judgement,
    Status,
    Verdict,
)
from grader.judge.rule import (
    Trouble,
    describe_dtypes,
    describe_fault,
    describe_stacks,
    describe_wrong,
    first_trouble,
)
from grader.judge.targets import judge_target

OF_ONE_CALL = frozenset(
    {
        *(FaultKind.EXCEPTION, FaultKind.CRASH, FaultKind.TIMEOUT, FaultKind.OUT_OF_MEMORY),
        *(FaultKind.BAD_REPLY, FaultKind.INPUT_CHANGED),
    }
)
"""Faults that may depend on what a call got."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    """Why one instance of a case did not pass, with the text for the report."""

    cause: Cause
    finding: CaseFinding


def judge(plan: Plan, measurement: Measurement) -> Judgement:
    """Judge a whole measurement, such as a stored one under other tolerances or points.

    A problem or case that is missing in the measurement counts as our failure.
    """
    checks = judge_checks(plan, measurement)
    return sum_up(plan, checks, judge_targets(plan, checks, measurement))


def judge_checks(plan: Plan, measurement: Measurement) -> tuple[CheckJudgement, ...]:
    """Judge every check of the plan, in its order."""
    measured = {problem.problem: problem for problem in measurement.problems}
    return tuple(
        _judge_check(problem, check, measured.get(problem.name, _not_measured(problem)))
        for problem in plan.problems
        for check in problem.checks
    )


def sound_problems(checks: Iterable[CheckJudgement]) -> frozenset[str]:
    """Return the problems whose essential checks have passed: their targets are worth measuring."""
    checks = tuple(checks)
    unsound = {check.problem for check in checks if check.blocks_targets}
    return frozenset({check.problem for check in checks} - unsound)


def judge_targets(
    plan: Plan, checks: Iterable[CheckJudgement], measurement: Measurement
) -> tuple[CheckJudgement, ...]:
    """Judge every target of the plan, in its order; `checks` are the judgements on its checks."""
    checks = tuple(checks)
    measured = {(one.problem, one.target): [one] for one in measurement.targets}
    return tuple(
        judge_target(
            problem,
            target,
            [one for one in checks if one.problem == problem.name],
            measured.get((problem.name, target.name), []),
        )
        for problem in plan.problems
        for target in problem.targets
    )


def reject(plan: Plan, message: str) -> Judgement:
    """Return the judgement on a submission that could not be read: nothing is judged, no zero."""
    return Judgement(
        status=Status.REJECTED,
        score=0.0,
        max_score=plan.points,
        ungraded_points=0.0,
        review_points=0.0,
        checks=(),
        message=message,
    )


def _not_measured(problem: PlannedProblem) -> ProblemMeasurement:
    return ProblemMeasurement(
        problem=problem.name, cases=(), output="", hidden_output="", children=0
    )


def _judge_check(
    problem: PlannedProblem, check: PlannedCheck, measured: ProblemMeasurement
) -> CheckJudgement:
    cases = [case for case in measured.cases if case.check == check.name]
    troubles = [
        _name_forbidden(check, case, trouble, measured.control_runs)
        for case in cases
        if (trouble := _trouble(check, case)) is not None
    ]
    planned = check.cases
    if len(cases) != planned:
        lost = Fault(
            kind=FaultKind.INFRASTRUCTURE,
            message=f"only {len(cases)} of {planned} cases were measured; this is a failure of the "
            "grader, not yours",
        )
        troubles = [_Trouble(cause=Cause.INFRASTRUCTURE, finding=_finding_of_fault(lost))]
    # A failure of ours comes first, as it must not cost points.
    causes = (trouble.cause for trouble in troubles)
    cause = min(causes, key=lambda cause: cause not in OUR_CAUSES, default=Cause.NONE)
    if cause is Cause.NONE:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.UNGRADED if cause in OUR_CAUSES else Verdict.FAIL
    return CheckJudgement(
        problem=problem.name,
        check=check.name,
        title=check.title,
        verdict=verdict,
        cause=cause,
        points=check.points if verdict is Verdict.PASS else 0.0,
        max_points=check.points,
        evidence=check.evidence,
        summary=_summary(cause, troubles, planned),
        findings=tuple(trouble.finding for trouble in troubles),
        cases=planned,
        kind=check.kind,
    )


def _name_forbidden(
    check: PlannedCheck,
    case: CaseMeasurement,
    trouble: _Trouble,
    control_runs: tuple[CaseMeasurement, ...],
) -> _Trouble:
    """Change the cause to FORBIDDEN if the case failed, but passes in the control run.

    The control run is the same case with nothing denied.
    """
    key = (case.check, case.index, case.public)
    again = next((one for one in control_runs if (one.check, one.index, one.public) == key), None)
    if trouble.cause in OUR_CAUSES or again is None or _trouble(check, again) is not None:
        return trouble
    summary = (
        "It works only with an operation that this problem does not allow; compute it in another "
        f"way. {trouble.finding.summary}"
    )
    return _Trouble(cause=Cause.FORBIDDEN, finding=replace(trouble.finding, summary=summary))


def _summary(cause: Cause, troubles: list[_Trouble], planned: int) -> str:
    if cause is Cause.NONE:
        return f"All {planned} cases passed." if planned > 1 else "Passed."
    first = next(trouble for trouble in troubles if trouble.cause is cause)
    return f"{len(troubles)} of {planned} cases failed. First: {first.finding.summary}"


def _trouble(check: PlannedCheck, case: CaseMeasurement) -> _Trouble | None:
    """Return the first thing that went wrong in a case, with the text for the report."""
    trouble = first_trouble(case, check.tolerance)
    if trouble is None:
        return None
    return _Trouble(cause=trouble.cause, finding=_finding(check, case, trouble))


def _finding(check: PlannedCheck, case: CaseMeasurement, trouble: Trouble) -> CaseFinding:
    match trouble.seen:
        case ValueObservation() as observation:
            return _wrong_value(check, case, observation)
        case ErrorObservation() as observation:
            return _wrong_error(case, observation)
        case fault:
            found = _finding_of_fault(fault, public=case.public, index=case.index)
            of_call = fault.kind in OF_ONE_CALL and not fault.message.startswith(LOAD_FAILED)
            said = describe_dtypes(case.dtypes) if of_call else ""
            return replace(found, summary=f"{found.summary}.{said}") if said else found


def _wrong_value(
    check: PlannedCheck, case: CaseMeasurement, observation: ValueObservation
) -> CaseFinding:
    comparison = observation.comparison
    return CaseFinding(
        public=case.public,
        index=case.index,
        summary=describe_wrong(observation, check.tolerance) + describe_dtypes(observation.dtypes),
        expected=comparison.expected,
        got=comparison.got,
        where=comparison.where,
    )


def _wrong_error(case: CaseMeasurement, observation: ErrorObservation) -> CaseFinding:
    return CaseFinding(
        public=case.public,
        index=case.index,
        summary=describe_wrong(observation, {}) + describe_dtypes(observation.dtypes),
        expected=observation.expected,
        got=observation.text if observation.got else "no exception",
        where="",
    )


def _finding_of_fault(fault: Fault, *, public: bool = False, index: int = 0) -> CaseFinding:
    return CaseFinding(
        public=public,
        index=index,
        summary=describe_fault(fault),
        expected="",
        got=fault.detail,
        where=fault.where,
        stacks=describe_stacks(fault.stacks),
    )


def sum_up(
    plan: Plan, checks: Iterable[CheckJudgement], targets: Iterable[CheckJudgement] = ()
) -> Judgement:
    """Add the points up; the result lists each problem's checks, then its targets."""
    position = {problem.name: number for number, problem in enumerate(plan.problems)}
    judged = tuple(sorted((*checks, *targets), key=lambda one: position[one.problem]))  # stable
    review_points = sum(one.max_points for one in judged if one.verdict is Verdict.NEEDS_REVIEW)
    ungraded = [one for one in judged if one.verdict is Verdict.UNGRADED]
    if any(one.cause is not Cause.NO_DEVICE for one in ungraded):
        status = Status.UNGRADED
    elif review_points:
        status = Status.NEEDS_REVIEW
    elif ungraded:
        status = Status.PROVISIONAL
    else:
        status = Status.GRADED
    return Judgement(
        status=status,
        score=sum(one.points for one in judged),
        max_score=plan.points,
        ungraded_points=sum(one.max_points for one in ungraded),
        review_points=review_points,
        checks=judged,
    )
