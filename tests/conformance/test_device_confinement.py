"""Confinement for a GPU allows what CUDA's driver needs to start, and no more; needs no GPU."""

import contextlib

import pytest

from grader.assignment.table import Limits
from grader.intake.submission import Origin, SourceFile, Submission
from grader.sandbox.contract import Isolation
from grader.sandbox.pool import SandboxPool
from grader.worker.session import open_session

LIMITS = Limits(reply_bytes=1 << 12)

PROGRAM = """
import os, threading

def rename(name="second"):
    path = f"/proc/self/task/{threading.get_native_id()}/comm"
    fd = os.open(path, os.O_RDWR)
    os.write(fd, name.encode())
    os.close(fd)
    assert open(path).read().strip() == name

rename("first")
assert os.listdir("/sys/devices")
open(f"/proc/self/task/{threading.get_native_id()}/comm", "w").close()  # truncates

failed = []
threading.excepthook = lambda what: failed.append(what.exc_value)
thread = threading.Thread(target=rename)
thread.start()
thread.join()
assert not failed, failed

parent = os.getppid()
for path in (f"/proc/{parent}/environ", f"/proc/{parent}/mem", "/proc/kmsg", "/proc/1/environ"):
    if path == f"/proc/{os.getpid()}/environ":
        continue
    try:
        open(path).read()
    except OSError:
        continue
    raise AssertionError(path)
try:
    open("/proc/sys/vm/overcommit_memory", "w")
except OSError:
    pass
else:
    raise AssertionError("a setting of Linux")
"""


@pytest.mark.parametrize("backend", [pytest.param("bwrap", marks=pytest.mark.bwrap), "none"])
def test_threads_have_names_and_nobody_else_is_seen(backend):
    submission = Submission(
        name="ada",
        sha256="",
        origin=Origin.MODULE,
        entry="kv",
        files=(SourceFile(name="kv.py", text=PROGRAM),),
    )
    pool = SandboxPool(backend, LIMITS, isolation=Isolation.WARM, jobs=1, device="cuda", image="")
    with (
        contextlib.closing(pool),
        pool.borrow() as sandbox,
        open_session(sandbox, submission, limits=LIMITS) as session,
    ):
        session.load()
