from dataclasses import replace

from grader.judge.judgement import Cause, Judgement, Status, Verdict
from grader.report.grades import ProblemTally, tally_problems
from tests.unit.report import samples
from tests.unit.report.sample_plan import make_plan


def _first(judgement: Judgement) -> ProblemTally:
    return tally_problems(make_plan(), judgement)[0]


def test_a_problem_has_the_most_open_verdict_of_its_checks() -> None:
    for verdict in (Verdict.UNGRADED, Verdict.NEEDS_REVIEW, Verdict.FAIL, Verdict.PASS):
        tally = _first(samples.make_judgement((Verdict.PASS, Cause.NONE), (verdict, Cause.NONE)))
        assert tally.verdict is verdict


def test_points_that_await_review_are_not_settled() -> None:
    outcomes = ((Verdict.NEEDS_REVIEW, Cause.NONE), (Verdict.FAIL, Cause.WRONG_VALUE))
    assert not _first(samples.make_judgement(*outcomes)).settled


def test_a_problem_nobody_judged_is_not_settled() -> None:
    assert not _first(samples.make_judgement()).settled


def test_causes_are_listed_once() -> None:
    outcomes = ((Verdict.FAIL, Cause.CRASH), (Verdict.FAIL, Cause.CRASH))
    assert _first(samples.make_judgement(*outcomes)).causes == (Cause.CRASH,)


def test_partly_passed_needs_points_and_a_failure() -> None:
    outcomes = ((Verdict.PASS, Cause.NONE), (Verdict.FAIL, Cause.CRASH))
    tally = _first(samples.make_judgement(*outcomes))
    assert tally.partly_passed
    assert not replace(tally, points=0.0).partly_passed
    assert not replace(tally, verdict=Verdict.NEEDS_REVIEW).partly_passed


def test_rejected_is_a_zero_without_causes() -> None:
    tally = _first(samples.make_rejected_record().judgement)
    assert (tally.points, tally.settled, tally.causes) == (0.0, True, ())
    assert samples.make_rejected_record().judgement.status is Status.REJECTED


def test_review_and_open_points_are_counted_beside_those_earned() -> None:
    outcomes = ((Verdict.NEEDS_REVIEW, Cause.NONE), (Verdict.UNGRADED, Cause.NO_DEVICE))
    tally = _first(samples.make_judgement(*outcomes))
    assert (tally.points, tally.review_points, tally.open_points) == (0.0, 6.0, 4.0)


def test_a_problem_that_passed_without_all_its_points_lies_between_the_tiers() -> None:
    whole = _first(samples.make_judgement(*samples.ALL_PASSED))
    assert not whole.between_tiers
    assert replace(whole, points=7.35).between_tiers
    assert not replace(whole, points=7.35, verdict=Verdict.FAIL).between_tiers
