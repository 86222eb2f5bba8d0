"""Attack 4: a tensor subclass that computes only when the result is checked.

Numbers leave the sandbox as bytes: of a subclass, those in its memory. It is never asked."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.honest import HONEST

LAZY = """
class Lazy(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return torch.zeros(1)

def scale(x, factor):
    return torch.zeros_like(x).as_subclass(Lazy)
"""


WRAPPER = """
class Wrapper(torch.Tensor):
    @staticmethod
    def __new__(cls, like):
        return torch.Tensor._make_wrapper_subclass(cls, like.size(), dtype=like.dtype)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return torch.zeros(args[0].size())

def scale(x, factor):
    return Wrapper(x)
"""

FAKE = """
from torch._subclasses.fake_tensor import FakeTensorMode

def scale(x, factor):
    with FakeTensorMode():
        return torch.empty(x.shape, dtype=x.dtype)
"""


def test_of_a_tensor_subclass_the_numbers_leave_the_sandbox(attack: Attack) -> None:
    result = attack(HONEST + LAZY)
    assert result.cause("scale") is Cause.WRONG_VALUE
    assert "cannot read" not in result.finding("scale")


def test_a_tensor_that_computes_in_its_own_way_gives_what_it_computes(attack: Attack) -> None:
    """Anything that it computes is computed before the reply, by a process that is still timed."""
    result = attack(HONEST + WRAPPER)
    assert result.cause("scale") is Cause.WRONG_VALUE


def test_a_tensor_without_numbers_is_refused(attack: Attack) -> None:
    result = attack(HONEST + FAKE)
    assert result.cause("scale") is Cause.WRONG_VALUE
    assert "FakeTensor" in result.finding("scale")
