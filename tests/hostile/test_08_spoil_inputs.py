"""Attack 8: overwrite the inputs, so that a reference computed from them degenerates.

The oracle computes from the judge's own copy, and a changed input is itself a failure."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.honest import HONEST

SPOIL = """
def scale(x, factor):
    x.zero_()
    return x.clone()
"""

SPOIL_AND_ANSWER = """
def scale(x, factor):
    out = x * factor
    x.add_(1)
    return out
"""


def test_zeroed_inputs_do_not_zero_the_oracle(attack: Attack) -> None:
    assert attack(HONEST + SPOIL).cause("scale") is Cause.WRONG_VALUE


def test_a_changed_input_fails_even_with_the_right_answer(attack: Attack) -> None:
    result = attack(HONEST + SPOIL_AND_ANSWER)
    assert result.cause("scale") is Cause.WRONG_VALUE
    assert "changed one of its input tensors" in result.finding("scale")
