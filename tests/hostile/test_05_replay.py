"""Attack 5: results cached by address, version or identity of the input.

Every call carries content never seen before, and every reply is compared."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.honest import HONEST

REPLAY = """
_seen = {}

def scale(x, factor):
    key = tuple(x.shape[1:])
    if key not in _seen:
        _seen[key] = x * factor
    out = torch.zeros_like(x)
    n = min(len(x), len(_seen[key]))
    out[:n] = _seen[key][:n]
    return out
"""


def test_replayed_results_are_wrong(attack: Attack) -> None:
    assert attack(HONEST + REPLAY).cause("scale") is Cause.WRONG_VALUE
