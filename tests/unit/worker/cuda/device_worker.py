"""A worker on a device: the real child at the other end, and memory files for the device."""

import contextlib

from grader.assignment.table import Limits
from grader.intake.submission import Origin, SourceFile, Submission
from grader.worker.cuda.session import open_device_session
from tests.unit.worker.cuda.fake_driver import FakeDriver
from tests.unit.worker.cuda.thread_sandbox import ThreadSandbox

TEXT = """
import torch

def double(x):
    return 2 * x

def spoil(x):
    x[0] = 99.0
    return x + 0

def run_out(x):
    raise torch.OutOfMemoryError("CUDA out of memory")

def keep_from_writing(x):
    return x[:0]

def fail():
    raise RuntimeError("CUDA error: an illegal memory access was encountered")

def allocate(size):
    from tests.unit.worker.cuda.thread_sandbox import take
    take(size)

KEPT = []

def keep(x):
    KEPT.append(x)

class Adder:
    def __init__(self, start):
        self.sum = start.clone()
    def add(self, x):
        self.sum += x
        return self.sum
"""
LIMITS = Limits(call_wall_s=5.0, load_wall_s=20.0, reply_bytes=1 << 14)


class Events:
    """Stands for CUDA events that say what they are told to."""

    claim: object = 1234

    def __init__(self):
        self.events_ns: object = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.events_ns = self.claim


class Worker(ThreadSandbox):
    """A sandbox that writes down what the device was asked just before it froze and thawed."""

    def __init__(self, home, name):
        super().__init__(home)
        self.driver = FakeDriver(total_bytes=1 << 24)
        self.log = []
        self._submission = Submission(
            name="ada",
            sha256="",
            origin=Origin.MODULE,
            entry=name,
            files=(SourceFile(name=f"{name}.py", text=TEXT),),
        )
        self._stack = contextlib.ExitStack()

    def freeze(self):
        self.log.append(("freeze", self.driver.calls[-2:]))

    def thaw(self):
        self.log.append(("thaw", self.driver.calls[-3:]))

    def __enter__(self):
        self.session = self._stack.enter_context(
            open_device_session(
                self,  # type: ignore[arg-type]
                self._submission,
                limits=LIMITS,
                driver=self.driver,
            )
        )
        self.session.load()
        return self

    def __exit__(self, *error):
        self._stack.__exit__(*error)
