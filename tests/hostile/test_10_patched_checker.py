"""Attack 10: replace everything that a comparison could use.

The comparison runs in another process, which imports nothing of the submission."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.honest import HONEST

PATCH = """
import builtins, math, json, mmap
torch.allclose = torch.equal = torch.isclose = lambda *a, **k: True
torch.testing.assert_close = lambda *a, **k: None
torch.Tensor.__eq__ = lambda self, other: torch.ones(1, dtype=torch.bool)
torch.Tensor.allclose = torch.Tensor.equal = lambda *a, **k: True
torch.Tensor.abs = torch.Tensor.sub = lambda self, *a, **k: torch.zeros(())
builtins.abs = lambda x: 0
math.isclose = lambda *a, **k: True

def scale(x, factor):
    return torch.zeros(x.shape)
"""


def test_patched_comparisons_change_nothing(attack: Attack) -> None:
    assert attack(HONEST + PATCH).cause("scale") is Cause.WRONG_VALUE
