"""From measurements to verdicts, causes and points."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.assignment.plan import Plan, PlannedCheck, PlannedProblem
from grader.assignment.table import Evidence, Limits
from grader.evidence.comparison import Comparison, Mismatch
from grader.evidence.faults import Fault, FaultKind
from grader.evidence.measurement import Measurement, ProblemMeasurement
from grader.evidence.observations import CaseMeasurement, ErrorObservation, ValueObservation
from grader.judge.judge import judge, reject, sum_up
from grader.judge.judgement import OUR_CAUSES, Cause, Status, Verdict
from grader.judge.rule import CAUSE_OF_FAULT

MARKER = "hidden-0.48712953"
POINTS = {"append": 6.0, "rollback": 4.0}


def planned(name, points):
    return PlannedCheck(
        name=name,
        title=name,
        description="",
        points=points,
        tolerance={"float32": 1e-5},
        evidence=Evidence.OUTSIDE,
        public=1,
        hidden=1,
    )


PLAN = Plan(
    assignment="kv",
    title="KV",
    device="cpu",
    seed="s",
    limits=Limits(),
    problems=(
        PlannedProblem(
            name="Cache",
            title="Cache",
            exports=("Cache",),
            checks=tuple(planned(name, points) for name, points in POINTS.items()),
        ),
    ),
    assignment_sha256="a",
    reference_sha256="b",
)


def value(error=0.0, mismatch=Mismatch.NONE, dtype="float32"):
    return ValueObservation(
        label="keys",
        comparison=Comparison(
            mismatch=mismatch, error=error, dtype=dtype, expected=MARKER, got=MARKER, where="[0]"
        ),
    )


def promised(*, matches, got="KeyError"):
    return ErrorObservation(
        label="append", expected="ValueError", got=got, text=MARKER, matches=matches
    )


def fault(kind):
    return Fault(kind=kind, message="it stopped", detail=MARKER, where="kv.py, line 3")


def case(*observations, check="append", index=0, public=False, faults=()):
    return CaseMeasurement(
        check=check,
        index=index,
        public=public,
        observations=observations,
        faults=tuple(faults),
        calls=1,
        wall_ns=1,
    )


GOOD = value(1e-6)
HALF_GOOD = (case(GOOD, public=True), case(GOOD))
OTHER_GOOD = (case(GOOD, check="rollback", public=True), case(GOOD, check="rollback"))


def measured(*cases):
    problem = ProblemMeasurement(
        problem="Cache", cases=cases, output="", hidden_output="", children=1
    )
    return Measurement(sandbox="bwrap", isolation="warm", layers=(), problems=(problem,), wall_ns=1)


def judged(*cases):
    return judge(PLAN, measured(*cases))


def first(*cases):
    return judged(*cases, *OTHER_GOOD).checks[0]


def test_all_good_is_full_points():
    result = judged(*HALF_GOOD, *OTHER_GOOD)
    assert (result.status, result.score, result.max_score) == (Status.GRADED, 10.0, 10.0)
    assert [check.summary for check in result.checks] == ["All 2 cases passed."] * 2
    assert all(check.findings == () for check in result.checks)


@pytest.mark.parametrize("kind", FaultKind)
def test_every_fault_has_its_cause(kind):
    check = first(case(GOOD, public=True), case(faults=[fault(kind)]))
    cause = CAUSE_OF_FAULT[kind]
    ours = kind in (
        *(FaultKind.BUSY, FaultKind.INFRASTRUCTURE),
        *(FaultKind.AUTHOR, FaultKind.NO_DEVICE),
    )
    assert check.cause is cause
    assert check.verdict is (Verdict.UNGRADED if ours else Verdict.FAIL)
    assert (check.points, check.max_points) == (0.0, 6.0)
    assert check.summary == "1 of 2 cases failed. First: it stopped (kv.py, line 3)"


@pytest.mark.parametrize(
    ("kind", "message", "told"),
    [
        (FaultKind.EXCEPTION, "f raised KeyError", True),
        (FaultKind.EXCEPTION, "loading the file: KeyError", False),  # told once, for all problems
        (FaultKind.MISSING, "not implemented yet", False),
        (FaultKind.INFRASTRUCTURE, "no room", False),
    ],
)
def test_a_hidden_case_names_the_dtypes_of_its_call(kind, message, told):
    failed = replace(
        case(faults=[Fault(kind=kind, message=message)]), dtypes=("float16", "bfloat16")
    )
    (finding,) = first(case(GOOD, public=True), failed).findings
    said = f"{message}. The call got tensors of float16 and bfloat16."
    assert finding.summary == (said if told else message)


@pytest.mark.parametrize("observation", [value(1.0), promised(matches=False)])
def test_what_is_wrong_names_the_dtypes_of_its_call(observation):
    wrong = case(replace(observation, dtypes=("int8",)))
    (finding,) = first(case(GOOD, public=True), wrong).findings
    assert finding.summary.endswith(". The call got tensors of int8.")


def test_the_table_of_faults():
    assert {kind.value: cause.value for kind, cause in CAUSE_OF_FAULT.items()} == {
        "missing": "missing",
        "exception": "crash",
        "crash": "crash",
        "timeout": "timeout",
        "out_of_memory": "out_of_memory",
        "bad_reply": "wrong_value",
        "input_changed": "wrong_value",
        "busy": "infrastructure",
        "infrastructure": "infrastructure",
        "author": "author",
        "no_device": "no_device",
    }
    assert set(CAUSE_OF_FAULT) == set(FaultKind)


@pytest.mark.parametrize(
    ("observation", "cause"),
    [
        (value(1e-5), Cause.NONE),
        (value(1.01e-5), Cause.WRONG_VALUE),
        (value(math.nan), Cause.WRONG_VALUE),
        (value(math.inf), Cause.WRONG_VALUE),
        (value(0.0, dtype="float16"), Cause.NONE),
        (value(1e-9, dtype="float16"), Cause.WRONG_VALUE),
        (value(0.0, dtype="value"), Cause.NONE),
        *((value(0.0, kind), Cause.WRONG_VALUE) for kind in Mismatch if kind is not Mismatch.NONE),
        (promised(matches=True), Cause.NONE),
        (promised(matches=False), Cause.WRONG_ERROR),
        (promised(matches=False, got=""), Cause.WRONG_ERROR),
    ],
    ids=str,
)
def test_each_observation_has_its_cause(observation, cause):
    assert first(case(GOOD, public=True), case(GOOD, observation)).cause is cause


def test_the_first_thing_that_went_wrong_is_the_cause():
    wrong_then_crash = case(value(1.0), promised(matches=False), faults=[fault(FaultKind.CRASH)])
    assert first(case(GOOD, public=True), wrong_then_crash).cause is Cause.WRONG_VALUE
    error_then_value = case(promised(matches=False), value(1.0))
    assert first(case(GOOD, public=True), error_then_value).cause is Cause.WRONG_ERROR
    crash_after_good = case(GOOD, faults=[fault(FaultKind.CRASH)])
    assert first(case(GOOD, public=True), crash_after_good).cause is Cause.CRASH


@pytest.mark.parametrize("ours", [FaultKind.INFRASTRUCTURE, FaultKind.AUTHOR])
def test_a_failure_of_ours_outweighs_one_of_theirs(ours):
    theirs = case(public=True, faults=[fault(FaultKind.CRASH)])
    for cases in ((theirs, case(faults=[fault(ours)])), (case(faults=[fault(ours)]), theirs)):
        check = first(*cases)
        assert (check.verdict, check.cause) == (Verdict.UNGRADED, CAUSE_OF_FAULT[ours])
    result = judged(theirs, case(faults=[fault(ours)]), *OTHER_GOOD)
    assert result.status is Status.UNGRADED
    assert (result.score, result.ungraded_points) == (4.0, 6.0)


def test_among_theirs_the_first_case_names_the_cause():
    check = first(case(public=True, faults=[fault(FaultKind.TIMEOUT)]), case(value(1.0)))
    assert check.cause is Cause.TIMEOUT
    assert len(check.findings) == 2


@pytest.mark.parametrize(
    "cases",
    [(), (case(GOOD, public=True),), (*HALF_GOOD, case(GOOD, index=1)), (case(value(1.0)),)],
)
def test_lost_cases_are_our_failure_and_never_a_zero(cases):
    result = judged(*cases, *OTHER_GOOD)
    check = result.checks[0]
    assert (check.verdict, check.cause) == (Verdict.UNGRADED, Cause.INFRASTRUCTURE)
    assert f"{len(cases)} of 2 cases were measured" in check.summary
    assert (result.status, result.ungraded_points) == (Status.UNGRADED, 6.0)


def test_a_problem_that_was_not_measured_is_our_failure():
    nothing = replace(measured(), problems=())
    result = judge(PLAN, nothing)
    assert {check.cause for check in result.checks} == {Cause.INFRASTRUCTURE}
    assert (result.status, result.ungraded_points, result.score) == (Status.UNGRADED, 10.0, 0.0)


def test_a_case_that_compares_nothing_is_the_authors_failure():
    check = first(case(GOOD, public=True), case())
    assert (check.verdict, check.cause) == (Verdict.UNGRADED, Cause.AUTHOR)


def test_a_rejected_submission_has_a_message_and_no_verdicts():
    result = reject(PLAN, "expected a module")
    assert (result.status, result.message) == (Status.REJECTED, "expected a module")
    assert (result.score, result.max_score, result.ungraded_points) == (0.0, 10.0, 0.0)
    assert result.checks == ()
    assert not result.status.has_score


def status_of(*outcomes):
    checks = tuple(
        replace(check, verdict=verdict, cause=cause, points=0.0)
        for check, (verdict, cause) in zip(
            judged(*HALF_GOOD, *OTHER_GOOD).checks, outcomes, strict=True
        )
    )
    return sum_up(PLAN, checks)


NO_DEVICE = (Verdict.UNGRADED, Cause.NO_DEVICE)
FAILED = (Verdict.FAIL, Cause.WRONG_VALUE)
NEEDS_REVIEW = (Verdict.NEEDS_REVIEW, Cause.NONE)
OURS = (Verdict.UNGRADED, Cause.AUTHOR)


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ((FAILED, FAILED), Status.GRADED),
        ((FAILED, NO_DEVICE), Status.PROVISIONAL),
        ((NEEDS_REVIEW, NO_DEVICE), Status.NEEDS_REVIEW),
        ((NEEDS_REVIEW, FAILED), Status.NEEDS_REVIEW),
        ((OURS, NO_DEVICE), Status.UNGRADED),
        ((OURS, NEEDS_REVIEW), Status.UNGRADED),
    ],
)
def test_the_status_of_a_submission(outcomes, status):
    result = status_of(*outcomes)
    assert result.status is status
    weights = dict(zip(POINTS.values(), outcomes, strict=True))
    assert result.review_points == sum(p for p, o in weights.items() if o is NEEDS_REVIEW)
    assert result.ungraded_points == sum(p for p, o in weights.items() if o[0] is Verdict.UNGRADED)


observations = st.one_of(
    st.builds(value, st.floats(0, 1e-4), st.sampled_from(Mismatch)),
    st.builds(promised, matches=st.booleans(), got=st.sampled_from(["", "KeyError"])),
)
cases = st.builds(
    lambda seen, faults, check, public: case(*seen, check=check, public=public, faults=faults),
    st.lists(observations, max_size=3),
    st.lists(st.builds(fault, st.sampled_from(FaultKind)), max_size=1),
    st.sampled_from(list(POINTS)),
    st.booleans(),
)


@settings(max_examples=200)
@given(st.lists(cases, max_size=6))
def test_points_add_up_and_summaries_keep_secrets(drawn):
    result = judged(*drawn)
    failed = sum(c.max_points for c in result.checks if c.verdict is Verdict.FAIL)
    total = result.score + result.ungraded_points + result.review_points + failed
    assert total == result.max_score == PLAN.points
    for check in result.checks:
        assert (check.points > 0) == (check.verdict is Verdict.PASS)
        assert (check.verdict is Verdict.PASS) == (check.cause is Cause.NONE)
        assert (check.verdict is Verdict.UNGRADED) == (check.cause in OUR_CAUSES)
        assert MARKER not in check.summary
        for finding in check.findings:
            assert MARKER not in finding.summary
            assert finding.summary
    assert judged(*drawn) == result


def test_a_measurement_can_be_judged_again_under_other_terms():
    seen = measured(case(value(1e-3), public=True), case(GOOD), *OTHER_GOOD)
    assert judge(PLAN, seen).score == 4.0
    (problem,) = PLAN.problems
    loose = tuple(replace(c, tolerance={"float32": 1e-2}, points=1.0) for c in problem.checks)
    plan = replace(PLAN, problems=(replace(problem, checks=loose),))
    assert judge(plan, seen).score == judge(plan, seen).max_score == 2.0


def control_runs(seen, *again):
    (problem,) = measured(seen, case(GOOD, public=True), *OTHER_GOOD).problems
    whole = replace(measured(), problems=(replace(problem, control_runs=again),))
    return judge(PLAN, whole).checks[0]


RAISED = case(faults=[fault(FaultKind.EXCEPTION)])


def test_what_works_only_without_the_denial_is_forbidden():
    check = control_runs(RAISED, case(GOOD))
    assert (check.verdict, check.cause, check.points) == (Verdict.FAIL, Cause.FORBIDDEN, 0)
    assert "works only with an operation that this problem does not allow" in check.summary
    refused = case(promised(matches=False, got="RuntimeError"))
    assert control_runs(refused, case(promised(matches=True))).cause is Cause.FORBIDDEN


@pytest.mark.parametrize(
    "again",
    [
        (),
        (case(value(1.0)),),
        (case(faults=[fault(FaultKind.EXCEPTION)]),),
        (case(GOOD, faults=[fault(FaultKind.TIMEOUT)]),),
        (case(),),
        (case(GOOD, index=1),),
        (case(GOOD, public=True),),
        (case(GOOD, check="rollback"),),
    ],
)
def test_what_does_not_work_without_the_denial_keeps_its_cause(again):
    assert control_runs(RAISED, *again).cause is Cause.CRASH


def test_a_run_without_the_denial_gives_no_points_and_hides_no_fault_of_ours():
    wrong = case(value(1.0))
    assert control_runs(wrong, case(GOOD)).points == 0
    ours = case(faults=[fault(FaultKind.INFRASTRUCTURE)])
    check = control_runs(ours, case(GOOD))
    assert (check.verdict, check.cause) == (Verdict.UNGRADED, Cause.INFRASTRUCTURE)
