"""What becomes of a target: points in proportion, and whose fault it is that there are none."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.assignment.plan import PlannedCheck, PlannedProblem
from grader.assignment.table import Evidence
from grader.assignment.target import CheckKind, Quantity, Tier
from grader.evidence.comparison import Comparison, Mismatch
from grader.evidence.faults import Fault, FaultKind
from grader.evidence.observations import CaseMeasurement, ErrorObservation, ValueObservation
from grader.judge.judge import sound_problems
from grader.judge.judgement import OUR_CAUSES, Cause, CheckJudgement, Verdict
from grader.judge.targets import describe, judge_target
from tests.unit.performance.synthetic import GROWTH_TIER, counted, heated, planned, raced

SIZES = (8, 24, 72)


def planned_check(name, **special):
    return PlannedCheck(
        name=name,
        title=name,
        description="",
        points=1,
        tolerance={},
        evidence=Evidence.OUTSIDE,
        public=1,
        hidden=0,
        **special,
    )


PROBLEM = PlannedProblem(
    name="problem",
    title="Problem",
    exports=(),
    checks=(
        planned_check("check"),
        planned_check("edge", kind=CheckKind.EDGE, share=0.25),
        planned_check("other", kind=CheckKind.EDGE, share=0.1),
    ),
)
TARGET = planned()


def check(verdict=Verdict.PASS, cause=Cause.NONE):
    return CheckJudgement(
        problem="problem",
        check="check",
        title="Check",
        verdict=verdict,
        cause=cause,
        points=0,
        max_points=1,
        evidence=Evidence.OUTSIDE,
        summary="",
        findings=(),
        cases=1,
    )


def edge(verdict=Verdict.PASS, cause=Cause.NONE, name="edge"):
    return replace(check(verdict, cause), check=name, kind=CheckKind.EDGE)


PASSED = (check(),)


def ruled(measured, target=TARGET, checks=PASSED):
    found = judge_target(PROBLEM, target, checks, measured)
    assert (found.verdict is Verdict.UNGRADED) == (found.cause in OUR_CAUSES)
    assert found.max_points == 10
    assert (found.points > 0) == (found.verdict is Verdict.PASS)
    assert found.cases == 0
    assert found.summary
    return found


def fault(kind, where=""):
    return Fault(kind=kind, message="it stopped", where=where)


def value(error=0.0, mismatch=Mismatch.NONE, dtype="float32"):
    return ValueObservation(
        label="keys",
        comparison=Comparison(
            mismatch=mismatch, error=error, dtype=dtype, expected="", got="", where=""
        ),
    )


@pytest.mark.parametrize(
    ("ratio", "points"), [(0.5, 10), (1.0, 10), (1.2, 10), (1.35, 7.5), (1.45, 5.8)]
)
def test_points_grow_from_half_to_full(ratio, points):
    found = ruled([raced(ratio=ratio)])
    assert found.cause is Cause.NONE
    assert found.points == pytest.approx(points, abs=0.5)
    assert f"{ratio:.2f} times the reference's" in found.summary
    assert found.points == round(found.points, 2)


@pytest.mark.parametrize(
    ("target", "measured", "cause"),
    [
        (TARGET, raced(ratio=3.0), Cause.TOO_SLOW),
        (TARGET, raced(wall_ratio=3.0), Cause.TOO_SLOW),
        (
            planned(Quantity.GROWTH, sizes=SIZES, tier=GROWTH_TIER),
            raced(forks=3, turns=1, sizes=SIZES, exponent=1.0),
            Cause.TOO_SLOW,
        ),
        (
            planned(Quantity.GROWTH, sizes=SIZES, tier=GROWTH_TIER),
            raced(forks=3, turns=1, sizes=SIZES, ratio=20.0),
            Cause.TOO_SLOW,
        ),
        (planned(Quantity.MEMORY), counted(ratio=3.0), Cause.TOO_MUCH_MEMORY),
        (planned(Quantity.TRAFFIC), counted(traffic_ratio=3.0), Cause.TOO_MUCH_TRAFFIC),
    ],
    ids=["time", "sleep", "growth", "slow everywhere", "memory", "traffic"],
)
def test_too_much_has_a_name(target, measured, cause):
    found = ruled([measured], target)
    assert (found.verdict, found.cause, found.points) == (Verdict.FAIL, cause, 0)
    assert len(found.finding) == 1
    assert "passes up to" in found.summary


def test_the_summary_shows_the_deciding_metrics():
    found = ruled([raced(wall_ratio=3.0)])
    assert "Wall-clock time" in found.summary
    assert "Processor time" not in found.summary
    assert len(found.finding[0].metrics) == 2


def test_a_machine_that_is_too_noisy_costs_no_points():
    found = ruled([raced(forks=12, ratio=1.5, noise=0.4)])
    assert found.cause is Cause.INFRASTRUCTURE
    assert "too noisy" in found.summary
    assert found.finding


def test_without_the_device_nothing_is_decided():
    found = ruled([], replace(TARGET, tiers=()))
    assert found.cause is Cause.NO_DEVICE


def test_what_cannot_be_earned_any_more_is_settled_without_its_device():
    wrong = check(Verdict.FAIL, Cause.WRONG_VALUE)
    found = ruled([], replace(TARGET, tiers=()), (wrong,))
    assert (found.verdict, found.cause) == (Verdict.FAIL, Cause.WRONG_VALUE)
    assert (
        "Not measured: 1 of 1 essential checks above did not pass. Fix check first" in found.summary
    )


def test_a_failed_edge_check_leaves_the_points_of_a_missing_device_open():
    wrong = edge(Verdict.FAIL, Cause.WRONG_ERROR)
    assert ruled([], replace(TARGET, tiers=()), (check(), wrong)).cause is Cause.NO_DEVICE


def test_a_failed_edge_check_costs_its_share_and_no_more():
    wrong = edge(Verdict.FAIL, Cause.WRONG_ERROR)
    whole, found = ruled([raced()]), ruled([raced()], checks=(check(), wrong))
    assert found.verdict is Verdict.PASS
    assert found.points == round(whole.points * (1 - 0.25), 2)
    assert found.summary == f"{whole.summary} 25 % of these points are lost, because edge failed."
    assert ruled([raced()], checks=(check(), edge())).points == whole.points


def test_several_edge_checks_add_up():
    wrong = [edge(Verdict.FAIL, Cause.WRONG_ERROR, name=name) for name in ("edge", "other")]
    found = ruled([raced()], checks=(check(), *wrong))
    assert found.points == pytest.approx(10 * (1 - 0.25 - 0.1))
    assert "35 % of these points are lost, because edge and other failed" in found.summary


def test_an_edge_check_that_we_could_not_judge_is_no_loss_and_no_gain():
    ours = edge(Verdict.UNGRADED, Cause.INFRASTRUCTURE)
    assert ours.blocks_targets
    assert ruled([], checks=(check(), ours)).cause is Cause.INFRASTRUCTURE


def test_only_essential_failures_stop_a_measurement():
    failed, failed_edge = (Verdict.FAIL, Cause.WRONG_VALUE), (Verdict.FAIL, Cause.WRONG_ERROR)
    assert sound_problems((check(), edge(*failed_edge))) == {"problem"}
    assert sound_problems((check(*failed), edge())) == frozenset()


@given(st.lists(st.sampled_from([Verdict.PASS, Verdict.FAIL]), min_size=3, max_size=3))
def test_speed_never_earns_more_for_a_check_that_fails(verdicts):
    cause = {Verdict.PASS: Cause.NONE, Verdict.FAIL: Cause.WRONG_VALUE}
    essential, first, second = ((one, cause[one]) for one in verdicts)
    checks = (check(*essential), edge(*first), edge(*second, name="other"))
    better = tuple(
        replace(one, verdict=Verdict.PASS, cause=Cause.NONE) if number == 1 else one
        for number, one in enumerate(checks)
    )
    points = ruled([raced()], checks=checks).points
    assert points <= ruled([raced()], checks=better).points
    assert (points > 0) == (essential[0] is Verdict.PASS)


@pytest.mark.parametrize("measured", [[], [raced()]], ids=["unmeasured", "measured"])
def test_speed_without_correctness_earns_nothing(measured):
    wrong = check(Verdict.FAIL, Cause.WRONG_VALUE)
    found = ruled(measured, checks=(check(), wrong))
    assert (found.verdict, found.cause) == (Verdict.FAIL, Cause.WRONG_VALUE)
    assert "1 of 2" in found.summary


def test_checks_that_we_failed_to_judge_leave_the_target_open():
    found = ruled([], checks=(check(Verdict.UNGRADED, Cause.AUTHOR),))
    assert found.cause is Cause.AUTHOR


def test_a_failed_check_is_a_students_even_beside_a_failure_of_ours():
    ours = check(Verdict.UNGRADED, Cause.INFRASTRUCTURE)
    found = ruled([], checks=(ours, check(Verdict.FAIL, Cause.CRASH)))
    assert (found.verdict, found.cause) == (Verdict.FAIL, Cause.CRASH)


def test_what_was_not_measured_is_ours():
    assert ruled([]).cause is Cause.INFRASTRUCTURE


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (FaultKind.AUTHOR, Cause.AUTHOR),
        (FaultKind.INFRASTRUCTURE, Cause.INFRASTRUCTURE),
        (FaultKind.CRASH, Cause.INFRASTRUCTURE),
    ],
)
def test_a_fault_of_the_reference_is_never_a_students(kind, cause):
    seen = replace(raced(), reference_faults=(fault(kind),), faults=(fault(FaultKind.CRASH),))
    found = ruled([seen])
    assert (found.cause, found.summary) == (cause, "it stopped")


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (FaultKind.TIMEOUT, Cause.TOO_SLOW),
        (FaultKind.OUT_OF_MEMORY, Cause.TOO_MUCH_MEMORY),
        (FaultKind.MISSING, Cause.MISSING),
        (FaultKind.BAD_REPLY, Cause.WRONG_VALUE),
        (FaultKind.INPUT_CHANGED, Cause.WRONG_VALUE),
        (FaultKind.CRASH, Cause.CRASH),
        (FaultKind.EXCEPTION, Cause.CRASH),
    ],
)
def test_a_fault_in_a_measured_run_is_the_submissions(kind, cause):
    found = ruled([replace(raced(), faults=(fault(kind, where="kv.py, line 3"),))])
    assert (found.verdict, found.cause) == (Verdict.FAIL, cause)
    assert "it stopped (kv.py, line 3)" in found.summary


@pytest.mark.parametrize("kind", [FaultKind.INFRASTRUCTURE, FaultKind.AUTHOR, FaultKind.NO_DEVICE])
def test_a_fault_of_ours_in_a_measured_run_costs_nobody_points(kind):
    found = ruled([replace(raced(), faults=(fault(kind),))])
    assert (found.verdict, found.cause.value) == (Verdict.UNGRADED, kind.value)


@pytest.mark.parametrize(
    "observation",
    [
        value(error=1e-3),
        value(error=float("nan")),
        value(error=1e-6, dtype="float16"),  # no tolerance: exact
        value(mismatch=Mismatch.SHAPE),
        value(mismatch=Mismatch.NOT_FINITE),
        ErrorObservation(label="keys", expected="ValueError", got="", text="", matches=False),
    ],
    ids=["error", "nan", "exact", "shape", "not finite", "no error"],
)
def test_a_measured_call_that_is_wrong_fails_however_fast(observation):
    found = ruled([replace(raced(ratio=0.1), observations=(value(), observation))])
    assert (found.verdict, found.cause) == (Verdict.FAIL, Cause.WRONG_VALUE)
    assert "keys" in found.summary


def test_a_wrong_timed_call_says_how_wrong_and_that_no_tolerance_is_stated():
    seen = (value(error=1e-3), value(error=1e-6, dtype="float16"))
    told = [ruled([replace(raced(), observations=(one,))]).summary for one in seen]
    assert "keys: the error is 0.001 of the output's scale, at most 0.0001 is allowed" in told[0]
    assert "float16 must be equal bit for bit, because no tolerance is stated" in told[1]


def test_measured_calls_within_the_tolerance_are_right():
    right = ErrorObservation(
        label="keys", expected="ValueError", got="ValueError", text="", matches=True
    )
    seen = replace(raced(), observations=(value(error=5e-5), right))
    assert ruled([seen]).cause is Cause.NONE


def test_without_meters_memory_stays_open():
    found = ruled([replace(counted(), metered=False)], planned(Quantity.MEMORY))
    assert found.cause is Cause.NO_DEVICE
    assert "cgroups" in found.summary


def test_a_metric_is_shown_with_its_interval_and_tier():
    growth = planned(Quantity.GROWTH, sizes=SIZES, tier=GROWTH_TIER)
    found = ruled([raced(forks=3, turns=1, sizes=SIZES)], growth)
    slope, largest = (describe(metric) for metric in found.finding[0].metrics[:2])
    assert slope.startswith("Growth of processor time beyond the reference's")
    assert "passes up to 0.50, full points up to 0.20" in slope
    assert largest.endswith("passes up to 8.00)")
    traffic = ruled([counted(traffic_ratio=1.1)], planned(Quantity.TRAFFIC)).summary
    assert "1.10 times what must be sent" in traffic


def test_one_limit_for_all_points_is_told_once():
    tier = Tier(pass_at=1.5, full_at=1.5)
    found = ruled([raced(ratio=1.4)], planned(tier=tier))
    assert found.points == 10
    assert "full points" not in found.summary


def test_a_device_that_throttled_leaves_the_target_open_and_says_why():
    found = ruled([heated(raced(ratio=3.0, forks=12), (0, 1, 2))])
    assert (found.verdict, found.cause) == (Verdict.UNGRADED, Cause.INFRASTRUCTURE)
    assert found.summary.startswith("The device throttled: hw thermal slowdown in 3 of 12")


@pytest.mark.parametrize(
    ("observations", "faults", "cause"),
    [
        ((value(),), (), Cause.FORBIDDEN),
        ((value(1.0),), (), Cause.CRASH),
        ((), (), Cause.CRASH),  # compared nothing, so it shows nothing
        ((), (fault(FaultKind.EXCEPTION),), Cause.CRASH),
    ],
)
def test_a_timed_call_that_works_only_without_the_denial(observations, faults, cause):
    again = CaseMeasurement(
        check="target",
        index=0,
        public=False,
        observations=observations,
        faults=faults,
        calls=1,
        wall_ns=1,
    )
    stopped = replace(raced(ratio=1.0), faults=(fault(FaultKind.EXCEPTION),), control_runs=(again,))
    found = ruled([stopped])
    assert (found.verdict, found.cause) == (Verdict.FAIL, cause)


def test_a_timed_call_that_raised_says_what_it_says_of_public_inputs():
    said = Fault(kind=FaultKind.EXCEPTION, message="m", detail="ValueError: " + "x" * 999)
    public = CaseMeasurement(
        check="t", index=0, public=True, observations=(), faults=(said,), calls=1, wall_ns=1
    )
    hidden = replace(fault(FaultKind.EXCEPTION), detail="ValueError: hidden 42")
    stopped = replace(raced(ratio=1.0), faults=(hidden,), public_runs=(public,))
    summary = ruled([stopped]).summary
    assert "With public inputs of the same size it said: ValueError: xxx" in summary
    assert "hidden 42" not in summary
    assert len(summary) < 800
    assert "it said" not in ruled([replace(stopped, public_runs=())]).summary


def test_a_wrong_timed_call_says_how_wrong():
    measured = replace(raced(ratio=1.0), observations=(value(0.5),))
    summary = ruled([measured]).summary
    assert "keys: the error is 0.5 of the output's scale" in summary
