"""A session on a device, with the real child at the other end and memory files for a device."""

import contextlib
import os
import socket
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from grader.author.steps import Call, New, Ref
from grader.device.fake_driver import FakeDriver
from grader.errors import DeviceError, SandboxError
from grader.intake.submission import Origin, SourceFile, Submission
from grader.measure.device_session import open_device_session
from grader.measure.drive import Raised, Stopped
from grader.measure.measurement import FaultKind
from grader.plan.assignment import Limits
from grader.runner import device_child, device_memory
from grader.runner.order import NO_DENIAL
from grader.runner.tensors import map_memory
from grader.sandbox.contract import Isolation
from grader.sandbox.faults import Ending
from grader.sandbox.pool import WallPool

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

class Adder:
    def __init__(self, start):
        self.sum = start.clone()
    def add(self, x):
        self.sum += x
        return self.sum
"""
LIMITS = Limits(call_wall_s=5.0, load_wall_s=20.0, reply_bytes=1 << 14)


class Events:
    """Stands for CUDA events."""

    claim: object = 1234

    def __init__(self):
        self.events_ns: object = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.events_ns = self.claim


class Box:
    """A wall whose child is a thread of this process, and a device made of memory files."""

    def __init__(self, home, name):
        self.driver = FakeDriver(total_bytes=1 << 24)
        self.log = []
        self._home = home
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

    def ending(self, child, wait_s):
        return Ending(wall_alive=True, exited=False, status=0, oom_kills=0)

    @contextlib.contextmanager
    def child(self, fd, denial=NO_DENIAL):
        ours, theirs = socket.socketpair()
        output, output_theirs = os.pipe()
        served = device_child.DeviceChild(
            channel=theirs, reply_memory=map_memory(fd, populate=False), home=str(self._home)
        )
        thread = threading.Thread(target=served.serve, daemon=True)
        thread.start()
        yield SimpleNamespace(channel=ours, output_fd=output, exit_fd=-1)
        thread.join(5)
        theirs.close()
        os.close(output_theirs)

    def __enter__(self):
        self.session = self._stack.enter_context(
            open_device_session(
                self,  # type: ignore[arg-type]
                self._submission,
                limits=LIMITS,
                driver=self.driver,
            )
        )
        self.session.load("")
        return self

    def __exit__(self, *error):
        self._stack.__exit__(*error)


@pytest.fixture
def box(tmp_path, monkeypatch, request):
    monkeypatch.setattr(
        device_memory, "open_block", lambda fd, size: map_memory(os.dup(fd), populate=False)
    )
    monkeypatch.setattr(device_memory, "EventClock", Events)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    name = f"submitted_{abs(hash(request.node.name))}"
    monkeypatch.setattr(Events, "claim", 1234)
    with Box(tmp_path, name) as made:
        yield made
    made.driver.close()  # nothing was forgotten
    sys.modules.pop(name, None)


def test_a_call_goes_there_and_back(box):
    got = box.session.call(Call("double", torch.arange(5.0)))
    assert got.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    (timed,) = box.session.timed
    assert timed.events_ns == (1234,)
    assert 0 < timed.wall_ns == box.session.wall_ns


def test_the_box_finds_the_judges_device_alone(box):
    assert os.environ["CUDA_VISIBLE_DEVICES"] == box.driver.facts.uuid


def test_objects_live_in_the_box(box):
    box.session.new(Ref(0), New("Adder", torch.ones(2)))
    assert box.session.call(Call(Ref(0), "add", torch.ones(2))).tolist() == [2.0, 2.0]
    assert box.session.call(Call(Ref(0), "add", torch.ones(2))).tolist() == [3.0, 3.0]
    assert len(box.session.timed) == 3
    assert sum(call.wall_ns for call in box.session.timed) == box.session.wall_ns


def test_the_cache_is_cold_and_the_reply_poisoned_before_the_box_runs(box):
    box.session.call(Call("double", torch.ones(2)))
    thaws = [calls for what, calls in box.log if what == "thaw"]
    assert thaws[-1] == ["forget_persisting_lines", "fill", "synchronize"]
    order = box.driver.calls
    written = len(order) - 1 - order[::-1].index("write")
    assert "fill" in order[written:]  # after the arguments: they lie in no cache


def test_the_snapshot_comes_before_the_freeze(box):
    box.session.call(Call("double", torch.ones(2)))
    assert [calls for what, calls in box.log if what == "freeze"][-1] == ["copy", "synchronize"]


def test_the_clock_waits_for_the_snapshot(box, monkeypatch):
    copy = box.driver.copy

    def slow(source, target):
        time.sleep(0.05)
        copy(source, target)

    monkeypatch.setattr(box.driver, "copy", slow)
    box.session.call(Call("double", torch.ones(2)))
    assert box.session.timed[-1].wall_ns > 50_000_000


def test_a_changed_input_is_seen(box):
    with pytest.raises(Stopped) as caught:
        box.session.call(Call("spoil", torch.zeros(2)))
    assert caught.value.fault.kind is FaultKind.INPUT_CHANGED


def test_memory_that_runs_out_in_the_box_is_the_students(box):
    with pytest.raises(Raised) as caught:
        box.session.call(Call("run_out", torch.zeros(2)))
    assert "MemoryError" in caught.value.names
    assert not box.session.timed


def test_a_device_that_refuses_the_judge_is_ours(box):
    box.driver.failing["copy"] = 719
    with pytest.raises(Stopped) as caught:
        box.session.call(Call("double", torch.zeros(2)))
    assert caught.value.fault.kind is FaultKind.INFRASTRUCTURE
    assert not box.session.alive
    box.driver.failing.clear()


@pytest.mark.parametrize(("held", "kind"), [(0.9, "OUT_OF_MEMORY"), (0.1, "INFRASTRUCTURE")])
def test_a_device_that_the_box_has_filled(box, held, kind):
    taken = int(box.driver.free_bytes() * held)
    box.driver.hold(taken)
    box.driver.failing["allocate"] = 2
    with pytest.raises(Stopped) as caught:
        box.session.call(Call("double", torch.zeros(2)))
    assert caught.value.fault.kind is FaultKind[kind]
    box.driver.failing.clear()


@pytest.mark.parametrize("claim", [-5, "fast", None, {"a": 1}, 1 << 80])
def test_a_claim_that_is_no_time_is_none(box, monkeypatch, claim):
    monkeypatch.setattr(Events, "claim", claim)
    box.session.call(Call("double", torch.ones(1)))
    assert box.session.timed[-1].events_ns == ()


def test_a_device_without_room_holds_nothing_back():
    driver = FakeDriver(total_bytes=1 << 14)
    opening = open_device_session(
        SimpleNamespace(),  # type: ignore[arg-type]
        SimpleNamespace(),  # type: ignore[arg-type]
        limits=LIMITS,
        driver=driver,
    )
    with pytest.raises(DeviceError, match="refused"), opening:
        pass
    driver.close()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_a_box_without_a_device_is_our_fault():
    """A real warm process that is told of a device, on a machine that has none."""
    submission = Submission(
        name="ada",
        sha256="",
        origin=Origin.MODULE,
        entry="kv",
        files=(SourceFile(name="kv.py", text="raise SystemExit"),),
    )
    pool = WallPool("none", LIMITS, isolation=Isolation.WARM, jobs=1, device="cuda", image="")
    driver = FakeDriver(total_bytes=1 << 24)
    with contextlib.closing(pool), pool.borrow() as wall:
        opening = open_device_session(wall, submission, limits=LIMITS, driver=driver)
        with (
            opening as session,
            pytest.raises(SandboxError, match="could not begin to use the device") as caught,
        ):
            session.load("")
        assert "CUDA" in caught.value.hint
    driver.close()
