import pytest

from grader.intake.submission import Origin
from grader.judge.judgement import Cause, Status, Verdict
from grader.plan.assignment import Evidence
from grader.report import words


def test_every_member_has_words() -> None:
    assert set(words.VERDICT_WORDS) == set(Verdict)
    assert set(words.CAUSE_WORDS) == set(words.CAUSE_EXPLAINED) == set(Cause)
    assert set(words.STATUS_WORDS) == set(words.STATUS_EXPLAINED) == set(Status)
    assert set(words.EVIDENCE_WORDS) == set(words.EVIDENCE_EXPLAINED) == set(Evidence)
    assert set(words.ORIGIN_WORDS) == set(Origin)


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
    assert words.number_words(value) == text
