"""Attack 9: NaN as a wildcard.

NaN equals nothing, unless the oracle itself expects it there."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.honest import HONEST

NAN = """
def scale(x, factor):
    return torch.full_like(x, float("nan"))
"""


def test_nan_is_no_wildcard(attack: Attack) -> None:
    result = attack(HONEST + NAN)
    assert result.cause("scale") is Cause.WRONG_VALUE
    assert "NaN" in result.finding("scale")
