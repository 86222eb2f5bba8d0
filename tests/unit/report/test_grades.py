import csv
import io

from grader.judge.judgement import Cause, Status, Verdict
from grader.report.grades import render_grades
from tests.unit.report import samples

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


def test_failed_and_rejected_are_zeros() -> None:
    failed = samples.make_judgement(*((Verdict.FAIL, Cause.MISSING),) * 6)
    rows = _rows(
        render_grades([samples.make_record(judgement=failed), samples.make_rejected_record()])
    )
    assert [row["KVCache"] for row in rows] == ["0", "0"]
    assert rows[1]["status"] == "rejected"


def test_names_cannot_be_formulas() -> None:
    (row,) = _rows(render_grades([samples.make_record('=HYPERLINK("x","y")')]))
    assert row["submission"] == '\'=HYPERLINK("x","y")'


def test_no_records() -> None:
    assert render_grades([]) == f"{FIRST}\n"
