"""What a text appended to the solution can change, and when that cannot be known."""

import pytest

from grader.validate.known_submission import affected

BASE = """
import math
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from collections.abc import Iterable
try:
    import fast
except ImportError:
    fast = None
LIMIT = 3
def helper(x): return min(x, LIMIT)
def one(x): return helper(x)
class Two:
    def go(self): return math.floor(1.5)
def three(x): return Two().go() + (fast or 0)
"""
EXPORTS = {"one": ("one",), "two": ("Two",), "three": ("three",)}


@pytest.mark.parametrize(
    ("appended", "problems"),
    [
        ("def one(x): return x", {"one"}),
        ("def helper(x): return x", {"one"}),
        ("LIMIT = 4", {"one"}),
        ("LIMIT: int = 4", {"one"}),
        ("class Two(Two): pass", {"two", "three"}),
        ("import numpy as math", {"two", "three"}),
        ("fast = 7", {"three"}),
        ("old = three\ndef three(x): return old(x) + 1", {"three"}),
        ('"""Only words."""', set()),
        ("def unused(x): return one(x)", set()),
    ],
)
def test_what_uses_a_changed_name_is_affected(appended, problems):
    assert affected(BASE, appended, EXPORTS) == problems


@pytest.mark.parametrize(
    "appended",
    [
        "Two.go = lambda self: 2",
        "math.floor = None",
        "one(3)",
        "LIMIT += 1",
        "del LIMIT",
        "for LIMIT in range(3): pass",
        "if LIMIT: one = three",
        "def one(x): return globals()['three'](x)",
        "import sys\ndef one(x): return sys.modules",
        "a, LIMIT = 1, 2",
    ],
)
def test_what_cannot_be_followed_affects_everything(appended):
    assert affected(BASE, appended, EXPORTS) == frozenset(EXPORTS)


def test_names_that_the_solution_looks_up_by_text_can_be_any():
    assert affected(f"{BASE}\ndef four(x): return vars()", "LIMIT = 4", EXPORTS) == set(EXPORTS)
