"""Which problems a wrong submission is graded in."""

import pytest

from grader.validate.reach import reached_problems

SOLUTION = '''
"""Two problems that share one function."""

import math
from torch import add as plus

SIZE, STEP = 4, 2
LIMIT: int = 3


def _shared(x):
    return x + SIZE


def one(x):
    return _shared(x)


def two(x):
    return math.floor(x) + plus(x, LIMIT)


def both(x):
    return one(x) + two(x)
'''
EXPORTS = {"first": ("one",), "second": ("two",), "third": ("both",)}


def reached(text: str) -> set[str]:
    return set(reached_problems(SOLUTION, f"{SOLUTION}\n\n{text}", EXPORTS))


def test_nothing_that_matters_reaches_nothing() -> None:
    assert reached('"""A docstring."""\n\n\ndef unused(x):\n    return x\n') == set()


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("def one(x):\n    return x\n", {"first", "third"}),
        ("def both(x):\n    return x\n", {"third"}),
        ("def _shared(x):\n    return x\n", {"first", "third"}),
        ("SIZE = 5\n", {"first", "third"}),
        ("STEP = 5\n", {"first", "third"}),  # bound beside SIZE, to be on the safe side
        ("LIMIT = 4\n", {"second", "third"}),
        ("import cmath as math\n", {"second", "third"}),
        ("_old = one\n\n\ndef one(x):\n    return _old(x)\n", {"first", "third"}),
        ("class plus:\n    pass\n", {"second", "third"}),
    ],
)
def test_a_name_reaches_who_uses_it(text: str, problems: set[str]) -> None:
    assert reached(text) == problems


@pytest.mark.parametrize(
    "text",
    [
        "print('loaded')\n",
        "math.floor = math.ceil\n",
        "for name in ('one',):\n    globals()[name] = None\n",
        "if True:\n    def one(x):\n        return x\n",
        "SIZE += 1\n",
        "del LIMIT\n",
        "try:\n    import nothing\nexcept ImportError:\n    pass\n",
        "def broken(:\n",
    ],
)
def test_what_may_do_anything_reaches_everything(text: str) -> None:
    assert reached(text) == set(EXPORTS)


def test_two_texts_that_are_equal_reach_nothing() -> None:
    assert reached_problems(SOLUTION, SOLUTION, EXPORTS) == frozenset()
