"""The denial target: an honest kernel passes, and each problem denies what it says and no more."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.kernel_honest import KERNEL

LIBRARY_SOFTMAX = """
def softmax(x):
    return torch.softmax(x, dim=1)
"""

AT_IMPORT = """
SCALE = torch.ones(3) + 1
_multiply = product
def product(a, b):
    return _multiply(a, b) if len(SCALE) else a
"""


def test_an_honest_kernel_passes(attack_denial: Attack) -> None:
    result = attack_denial(KERNEL)
    for problem in ("product", "softmax", "total", "density"):
        assert result.cause(problem) is Cause.NONE, result.finding(problem)


def test_one_denied_operation_leaves_others(attack_denial: Attack) -> None:
    result = attack_denial(KERNEL + LIBRARY_SOFTMAX)
    assert result.cause("softmax") is Cause.FORBIDDEN
    assert "aten::softmax.int is denied in the problem softmax" in result.finding("softmax")
    assert result.cause("product") is Cause.NONE
    assert result.cause("total") is Cause.NONE


def test_an_import_that_computes_costs_the_problems_that_deny_it(attack_denial: Attack) -> None:
    result = attack_denial(KERNEL + AT_IMPORT)
    assert result.cause("product") is Cause.FORBIDDEN
    assert "aten::add.Tensor is denied" in result.finding("product")
    assert result.cause("softmax") is Cause.NONE
    assert result.cause("total") is Cause.NONE
