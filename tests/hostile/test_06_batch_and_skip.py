"""Attack 6: the first call computes every input that is queued already; the rest are look-ups.

One input is revealed at a time: there is nothing to find ahead of its call."""

import pytest

from grader.judge.judgement import Cause
from tests.hostile.conftest import Racing
from tests.hostile.unhurried import HONEST, SLOW_MIX, SLOW_TALLY

LOOK_AHEAD = """
import gc, mmap, os, socket, sys, time

def queued(x):
    found = []
    for number in range(3, 64):
        try:
            peeked = socket.socket(fileno=number)
        except OSError:
            continue
        try:
            found.append(peeked.recv(1 << 20, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            pass
        peeked.detach()
    frame = sys._getframe()
    while frame is not None:
        found += [v for v in frame.f_locals.values() if isinstance(v, torch.Tensor) and v is not x]
        frame = frame.f_back
    found += [m for m in gc.get_objects() if isinstance(m, mmap.mmap) and len(m) == x.nbytes]
    tensors = [f for f in found if isinstance(f, torch.Tensor) and f.shape == x.shape]
    tensors += [
        torch.frombuffer(bytearray(f), dtype=x.dtype).view(x.shape)
        for f in found
        if isinstance(f, mmap.mmap)
    ]
    return [t for t in tensors if not torch.equal(t, x)]
"""

SKIP = """
class Tally(Tally):
    def add(self, x):
        if not self.kept:
            for later in [x, *queued(x)]:
                super().add(later)
"""

FALL_BACK = """
class Tally(Tally):
    ahead = ()

    def add(self, x):
        if not any(torch.equal(x, known) for known in self.ahead):
            self.ahead = queued(x)
            super().add(x)
"""


@pytest.mark.parametrize(
    ("how", "cause"),
    [(SKIP, Cause.WRONG_VALUE), (FALL_BACK, Cause.TOO_SLOW)],
    ids=["skips", "falls back"],
)
def test_there_is_nothing_to_compute_ahead(race: Racing, how: str, cause: Cause) -> None:
    found = race(HONEST + SLOW_MIX + SLOW_TALLY + LOOK_AHEAD + how, "growth")
    assert found.check("total").cause in (Cause.NONE, cause)
    assert found.cause("growth") is cause
