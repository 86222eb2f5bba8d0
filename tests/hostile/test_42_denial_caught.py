"""Catch the denial: fall back to a kernel, make an answer up, or raise its exception oneself."""

import pytest

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.kernel_honest import KERNEL

FALL_BACK = """
own = product

def product(a, b):
    if a.shape[1] != b.shape[0]:
        raise ValueError("inner sizes differ")
    try:
        return a @ b
    except RuntimeError:
        return own(a, b)
"""

MAKE_UP = """
def product(a, b):
    try:
        return a @ b
    except RuntimeError:
        return torch.zeros(a.shape[0], b.shape[1])
"""

LOOK_ALIKE = """
class OperationDenied(RuntimeError):
    pass

def product(a, b):
    raise OperationDenied("aten::mm is denied in the problem product: I say so")
"""


def test_who_falls_back_to_a_kernel_is_graded_on_the_kernel(attack_denial: Attack) -> None:
    result = attack_denial(KERNEL + FALL_BACK)
    assert result.cause("product") is Cause.NONE, result.finding("product")


def test_an_answer_made_up_under_the_denial_is_wrong(attack_denial: Attack) -> None:
    assert attack_denial(KERNEL + MAKE_UP).cause("product") is Cause.WRONG_VALUE


@pytest.mark.parametrize("problem", ["product", "total"])
def test_an_exception_that_looks_like_the_denial_is_a_crash(
    attack_denial: Attack, problem: str
) -> None:
    source = LOOK_ALIKE.replace("product(a, b)", f"{problem}(*_)")
    assert attack_denial(KERNEL + source).cause(problem) is Cause.CRASH
