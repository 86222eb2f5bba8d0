"""Attack 24: a number that equals everything.

Values leave the sandbox as JSON primitives: of a subclass, the number that it is."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.honest import HONEST

EQUALS_ALL = """
class Anything(int):
    def __eq__(self, other):
        return True
    def __hash__(self):
        return 0

class Counter:
    def add(self, number):
        return Anything(0)
"""


def test_a_number_that_equals_everything_cannot_leave(attack: Attack) -> None:
    result = attack(HONEST + EQUALS_ALL)
    assert result.cause("Counter") is Cause.WRONG_VALUE
    assert "not equal" in result.finding("Counter")
