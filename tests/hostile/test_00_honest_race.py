"""The honest submission is as fast as the reference: what follows is slow for its own sake."""

import pytest

from grader.judge.judgement import Cause
from tests.hostile.conftest import SANDBOXES, Racing
from tests.hostile.unhurried import HONEST, SLOW_MIX, SLOW_TALLY


@pytest.mark.parametrize("speed_sandboxes", SANDBOXES, indirect=True)
@pytest.mark.parametrize("target", ["time", "clock", "growth", "memory"])
def test_an_honest_submission_gets_full_points(race: Racing, target: str) -> None:
    found = race(HONEST, target)
    assert found.cause(target) is Cause.NONE, found.check(target).summary
    assert found.judgement.score == found.judgement.max_score


@pytest.mark.parametrize("speed_sandboxes", SANDBOXES, indirect=True)
@pytest.mark.parametrize("target", ["time", "clock", "growth"])
def test_a_slow_one_that_hides_nothing_is_too_slow(race: Racing, target: str) -> None:
    found = race(HONEST + SLOW_MIX + SLOW_TALLY, target)
    assert found.cause(target) is Cause.TOO_SLOW
    assert found.judgement.score == 1  # for the check
