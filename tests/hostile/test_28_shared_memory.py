"""Resize, truncate, punch or rewrite the shared buffers, during and after the reply.

The memory files are sealed; the judge copies once and parses its copy."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.honest import HONEST

RESIZE = """
import ctypes, fcntl, gc, mmap, os
libc = ctypes.CDLL(None, use_errno=True)

def _maps():
    return [m for m in gc.get_objects() if isinstance(m, mmap.mmap)]

def scale(x, factor):
    done = []
    for m in _maps():
        for size in (0, 1, len(m) * 2):
            try:
                m.resize(size)
                done.append(size)
            except (OSError, SystemError, ValueError, BufferError):
                pass
        try:
            address = ctypes.addressof(ctypes.c_char.from_buffer(m))
            libc.madvise(ctypes.c_void_p(address), len(m), 9)  # MADV_REMOVE: punch a hole
        except (TypeError, ValueError, BufferError):
            pass
    for fd in range(3, 64):
        try:
            os.ftruncate(fd, 0)
            done.append(fd)
        except OSError:
            pass
        try:
            fcntl.fcntl(fd, 1033, 0)  # F_ADD_SEALS
        except OSError:
            pass
    print("resized", done)
    return x * factor
"""

SCRIBBLE = """
import gc, mmap

def scale(x, factor):
    out = x * factor
    for m in [m for m in gc.get_objects() if isinstance(m, mmap.mmap) and len(m) == 1 << 20]:
        m[:] = b"\\xff" * len(m)
    return out
"""


def test_shared_buffers_cannot_be_resized(attack: Attack) -> None:
    result = attack(HONEST + RESIZE)
    resized = {line for line in result.output.splitlines() if line.startswith("resized")}
    assert resized <= {"resized []"}
    # Holes that it punched into its own arguments count as changed inputs; nothing else breaks.
    assert result.cause("scale") in (Cause.NONE, Cause.WRONG_VALUE, Cause.CRASH)
    assert result.cause("Counter") is Cause.NONE


def test_scribbling_before_the_reply_changes_nothing(attack: Attack) -> None:
    assert attack(HONEST + SCRIBBLE).cause("scale") is Cause.NONE


def test_the_next_submission_is_unharmed(attack: Attack) -> None:
    attack(HONEST + RESIZE)
    assert attack(HONEST).judgement.score == 10
