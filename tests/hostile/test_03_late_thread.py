"""Attack 3: a thread finishes the work after the reply.

All processes are frozen at the reply, and its bytes are copied then. What a thread writes later,
also into the shared reply memory itself, is never read."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.honest import HONEST

LATE = """
import threading, time

def scale(x, factor):
    out = torch.zeros_like(x)

    def work():
        time.sleep(0.005)
        out.copy_(x * factor)

    threading.Thread(target=work, daemon=True).start()
    return out
"""

INTO_REPLY_MEMORY = """
import gc, mmap, threading, time

def scale(x, factor):
    right = (x * factor).contiguous().numpy().tobytes()

    def work():
        maps = [m for m in gc.get_objects() if isinstance(m, mmap.mmap) and len(m) == 1 << 20]
        while True:
            for m in maps:
                m[: len(right)] = right

    threading.Thread(target=work, daemon=True).start()
    return torch.zeros_like(x)
"""


def test_work_after_the_reply_does_not_count(attack: Attack) -> None:
    assert attack(HONEST + LATE).cause("scale") is Cause.WRONG_VALUE


def test_a_writer_to_the_reply_memory_breaks_nothing(attack: Attack) -> None:
    # Bytes that the thread got in before the freeze are the submission's own reply, right or
    # wrong; the point is that the judge neither crashes nor fails the next submission.
    result = attack(HONEST + INTO_REPLY_MEMORY)
    assert result.cause("scale") in (Cause.WRONG_VALUE, Cause.TIMEOUT, Cause.NONE)
    assert result.cause("Counter") is Cause.NONE
    assert attack(HONEST).judgement.score == 10
