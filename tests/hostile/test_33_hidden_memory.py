"""Attack 33: keep data where it is charged to another process, or erase the peak.

A cgroup is charged for a page that its process touches first; the judge takes the memory of
arguments back."""

import pytest

from grader.judge.judgement import Cause
from tests.hostile.conftest import Racing
from tests.hostile.unhurried import HONEST

KEPT = """
class Store:
    def __init__(self, rows, columns):
        self.columns = columns
        self.kept = []
        self.more = []

    def put(self, x):
        self.kept.append(x.clone())
        for _ in range(2):
            self.more.append(hide(x))

    def get(self):
        return torch.cat(self.kept)
"""
"""Everything three times, of which two are hidden."""

HIDE = {
    "nowhere": """
def hide(x):
    return x.clone()
""",
    "memory file": """
import mmap, os

def hide(x):
    fd = os.memfd_create("kept")
    os.write(fd, x.numpy().tobytes())
    return fd
""",
    "file": """
import tempfile

def hide(x):
    file = tempfile.TemporaryFile()
    file.write(x.numpy().tobytes())
    file.flush()
    return file
""",
    "process": """
import os, time

def hide(x):
    pid = os.fork()
    if not pid:
        held = [x + n for n in range(2)]
        os.write(ready[1], b"x")
        while True:
            time.sleep(10)
    os.read(ready[0], 1)
    return pid

ready = os.pipe()
""",
    "shared memory": """
import mmap

def hide(x):
    held = mmap.mmap(-1, x.nbytes)
    held[:] = x.numpy().tobytes()
    return held
""",
    "sockets": """
import socket

def hide(x):
    left, held = x.numpy().tobytes(), []
    while left:
        ends = socket.socketpair()
        ends[0].setblocking(False)
        try:
            while left:
                left = left[ends[0].send(left[: 1 << 16]) :]
        except BlockingIOError:
            pass
        held.append(ends)
    return held
""",
    "connections": """
import socket

def ends():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]

def hide(x):
    try:
        left, held = x.numpy().tobytes(), []
        while left:
            held.append(ends())
            held[-1][0].setblocking(False)
            try:
                while left:
                    left = left[held[-1][0].send(left[: 1 << 16]) :]
            except BlockingIOError:
                pass
        return held
    except OSError:  # no such sockets: the attack has failed
        return x.clone()
""",
    "arguments of the past": """
passed = []

def hide(x):
    passed.append(x)
    for past in passed[:-1]:
        if past.shape == x.shape:
            past.copy_(x)
""",
    "pipes": """
import ctypes, fcntl, os
libc = ctypes.CDLL(None, use_errno=True)

class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

def hide(x):
    held = []
    for at in range(0, x.nbytes, 1 << 20):
        pipe = os.pipe()
        fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 1 << 20)
        part = Part(x.data_ptr() + at, min(1 << 20, x.nbytes - at))
        sent = libc.vmsplice(pipe[1], ctypes.byref(part), 1, 0)
        held.append(pipe if sent == part.length else x.clone())
    return held
""",
    "erased peak": """
import contextlib

def hide(x):
    held = [x + n for n in range(2)]
    del held
    for name in ("/proc/self/clear_refs", "/proc/1/clear_refs"):
        with contextlib.suppress(OSError), open(name, "w") as file:
            file.write("5")
    return x.clone()
""",
}

VIEWS = """
class Store:
    def __init__(self, rows, columns):
        self.kept = []

    def put(self, x):
        self.kept.append(x)

    def get(self):
        return torch.cat(self.kept)
"""


@pytest.mark.parametrize("where", HIDE)
def test_memory_is_charged_wherever_it_is(race: Racing, where: str) -> None:
    found = race(HONEST + HIDE[where] + KEPT, "memory")
    assert found.cause("everything") is Cause.NONE, found.check("everything").summary
    assert found.cause("memory") is Cause.TOO_MUCH_MEMORY, found.check("memory").summary


def test_what_was_kept_in_the_judges_memory_is_lost(race: Racing) -> None:
    found = race(HONEST + VIEWS, "memory")
    assert found.cause("everything") is Cause.NONE
    assert found.cause("memory") is Cause.WRONG_VALUE
