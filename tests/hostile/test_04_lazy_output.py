"""Attack 4: a tensor subclass that computes only when the result is checked.

Nothing but exact tensors and primitives leaves the sandbox, as bytes."""

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


def test_a_tensor_subclass_cannot_leave_the_sandbox(attack: Attack) -> None:
    result = attack(HONEST + LAZY)
    assert result.cause("scale") is Cause.WRONG_VALUE
    assert "Lazy" in result.finding("scale")
