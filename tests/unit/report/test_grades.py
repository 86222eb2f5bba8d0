"""Points and causes of a problem, and the table `grades.csv`."""

import csv
import io
from dataclasses import replace

from grader.judge.judgement import Cause, Judgement, Status, Verdict
from grader.report.grades import ProblemTally, render_grades, tally_problems
from tests.unit.report import samples
from tests.unit.report.sample_plan import make_plan

FIRST = "submission,status,score,max_score,ungraded_points,review_points"


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_columns_and_a_full_score() -> None:
    text = render_grades([samples.make_record("ada")])
    assert text == f"{FIRST},KVCache,decode_attention,SlotCache\nada,graded,30,30,0,0,10,10,10\n"


def test_an_ungraded_problem_is_an_empty_cell() -> None:
    judgement = samples.make_judgement(*samples.EVERY_VERDICT, status=Status.UNGRADED)
    (row,) = _rows(render_grades([samples.make_record(judgement=judgement)]))
    assert row["SlotCache"] == ""
    assert (row["KVCache"], row["decode_attention"]) == ("6", "2")
    assert (row["score"], row["ungraded_points"], row["review_points"]) == ("", "5", "5")


def test_a_zero_with_open_checks_is_not_a_zero() -> None:
    outcomes = ((Verdict.FAIL, Cause.WRONG_VALUE), (Verdict.UNGRADED, Cause.NO_DEVICE))
    judgement = samples.make_judgement(
        *outcomes, *samples.ALL_PASSED[2:], status=Status.PROVISIONAL
    )
    (row,) = _rows(render_grades([samples.make_record(judgement=judgement)]))
    assert row["KVCache"] == ""


def test_earned_points_of_an_open_problem_stay() -> None:
    outcomes = ((Verdict.PASS, Cause.NONE), (Verdict.UNGRADED, Cause.NO_DEVICE))
    judgement = samples.make_judgement(
        *outcomes, *samples.ALL_PASSED[2:], status=Status.PROVISIONAL
    )
    (row,) = _rows(render_grades([samples.make_record(judgement=judgement)]))
    assert row["KVCache"] == "6"


def test_failed_is_a_zero_and_rejected_is_no_score() -> None:
    failed = samples.make_judgement(*((Verdict.FAIL, Cause.MISSING),) * 6)
    rows = _rows(
        render_grades([samples.make_record(judgement=failed), samples.make_rejected_record()])
    )
    assert [(row["status"], row["score"], row["KVCache"]) for row in rows] == [
        ("graded", "0", "0"),
        ("rejected", "", ""),
    ]


def test_a_record_of_an_older_format_is_no_zero_either() -> None:
    """Records written before hold a failed check for each criterion of a rejected submission."""
    failed = samples.make_judgement(*((Verdict.FAIL, Cause.MISSING),) * 6, status=Status.REJECTED)
    (row,) = _rows(render_grades([samples.make_record(judgement=failed)]))
    assert (row["score"], row["KVCache"], row["SlotCache"]) == ("", "", "")


def test_records_of_another_plan_are_marked_and_have_no_points() -> None:
    old = samples.make_record("ada")
    plan = replace(old.plan, seed="another")
    new = replace(old, record_id="2", created_at="2999-01-01", plan=plan)
    new = replace(new, submission=replace(new.submission, name="bob"))
    ada, bob = _rows(render_grades([old, new]))
    assert (ada["status"], ada["score"], ada["KVCache"]) == ("outdated", "", "")
    assert (bob["status"], bob["score"], bob["KVCache"]) == ("graded", "30", "10")


def test_names_cannot_be_formulas() -> None:
    (row,) = _rows(render_grades([samples.make_record('=HYPERLINK("x","y")')]))
    assert row["submission"] == '\'=HYPERLINK("x","y")'


def test_no_records() -> None:
    assert render_grades([]) == f"{FIRST}\n"


def _first(judgement: Judgement) -> ProblemTally:
    return tally_problems(make_plan(), judgement)["KVCache"]


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


def test_rejected_is_not_settled_and_has_no_causes() -> None:
    tally = _first(samples.make_rejected_record().judgement)
    assert (tally.points, tally.settled, tally.causes) == (0.0, False, ())
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
