import pytest

from grader.assignment.table import Evidence
from grader.intake.submission import Origin
from grader.judge.judgement import Cause, Status, Verdict
from grader.report import messages


def test_every_member_has_a_text() -> None:
    assert set(messages.VERDICT_TEXT) == set(Verdict)
    assert set(messages.CAUSE_EXPLAINED) == set(Cause)
    assert all(messages.CAUSE_EXPLAINED[cause] for cause in set(Cause) - {Cause.NONE})
    assert set(messages.STATUS_TEXT) == set(messages.STATUS_EXPLAINED) == set(Status)
    assert set(messages.EVIDENCE_TEXT) == set(messages.EVIDENCE_EXPLAINED) == set(Evidence)
    assert set(messages.ORIGIN_TEXT) == set(Origin)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (10.0, "10"),
        (2.5, "2.5"),
        (1 / 3, "0.33"),
        (100.0, "100"),
        (-0.001, "0"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert messages.number_text(value) == text
