"""The honest solution passes, so that what follows fails for its attack alone."""

from grader.judge.judgement import Cause, Status
from tests.hostile.conftest import Attack
from tests.hostile.honest import HONEST


def test_honest_submission_gets_full_points(attack: Attack) -> None:
    result = attack(HONEST)
    assert result.cause("scale") is Cause.NONE
    assert result.cause("Counter") is Cause.NONE
    assert result.judgement.status is Status.GRADED
    assert result.judgement.score == result.judgement.max_score == 10
