"""A session on a device, with the real child at the other end and memory files for a device."""

import contextlib
import os
import socket
import time
from types import SimpleNamespace

import pytest
import torch

from grader.author.steps import Call, New, Ref
from grader.device.fake_driver import FakeDriver
from grader.device.throttle import ThrottleReasons
from grader.errors import DeviceError, SandboxError
from grader.intake.submission import Origin, SourceFile, Submission
from grader.measure.device_session import open_device_session
from grader.measure.drive import Raised, Stopped
from grader.measure.measurement import FaultKind
from grader.runner import device_child, device_memory
from grader.sandbox.contract import Isolation
from grader.sandbox.faults import Ending
from grader.sandbox.pool import WallPool
from tests.unit.measure.device_box import LIMITS, Events


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


def test_a_timed_call_asks_the_device_for_this_and_in_this_order(box, monkeypatch):
    calls = box.driver.calls
    monkeypatch.setattr(box, "thaw", lambda: calls.append("THAW"))
    monkeypatch.setattr(box, "freeze", lambda: calls.append("FREEZE"))
    for _ in range(2):
        before = len(calls)
        box.session.call(Call("double", torch.ones(2)))
        seen = [name for name in calls[before:] if name != "free"]  # of the last call's arguments
        assert seen == [
            *("allocate", "write", "export"),  # the arguments
            "fill",  # the reply: poisoned
            *("forget_persisting_lines", "fill", "synchronize"),  # a cold cache
            "THAW",
            *("copy", "synchronize"),  # the reply that counts; the clock stops
            "FREEZE",
            "state",  # what held the device back
            "read",  # the reply's value
            *("synchronize", "read"),  # the arguments are as they were
        ]


def test_the_flush_writes_twice_the_cache_of_the_device(box, monkeypatch):
    filled = []
    fill = box.driver.fill

    def keep(block, value):
        filled.append(block.size_bytes)
        fill(block, value)

    monkeypatch.setattr(box.driver, "fill", keep)
    box.session.call(Call("double", torch.ones(2)))
    assert filled == [LIMITS.reply_bytes, 2 * box.driver.facts.cache_bytes]


def test_states_are_those_of_all_replies_since_the_last_time(box):
    box.session.device_states()
    box.driver.reasons = ThrottleReasons.HW_SLOWDOWN
    box.session.call(Call("double", torch.ones(2)))
    box.driver.reasons = ThrottleReasons.GPU_IDLE
    (seen,) = box.session.device_states()
    assert seen.reasons == ThrottleReasons.HW_SLOWDOWN | ThrottleReasons.GPU_IDLE
    (now,) = box.session.device_states()
    assert now.reasons == ThrottleReasons.GPU_IDLE


def test_a_box_that_says_nothing_of_its_time_has_claimed_none(box, monkeypatch):
    monkeypatch.setattr(
        device_child.DeviceChild, "carry_out", lambda *a: {"value": None, "tensors": []}
    )
    box.session.call(Call("double", torch.ones(1)))
    assert [claim.events_ns for claim in box.session.timed] == [()]


def test_a_call_without_tensors_lends_nothing(box):
    box.session.call(Call("allocate", 0))
    box.session.call(Call("double", torch.ones(1)))
    granule = box.driver.facts.granularity_bytes
    assert [claim.lent_bytes for claim in box.session.timed] == [0, granule]


def test_a_box_that_ends_as_its_device_does_is_no_students_fault(box):
    def vanish(child, wait_s):
        box.driver.failing.update(state=15, synchronize=719)
        return Ending(wall_alive=True, exited=True, status=256, oom_kills=0)

    box.ending = vanish
    box.session._channel._sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(Stopped) as caught:
        box.session.call(Call("double", torch.ones(2)))
    assert caught.value.fault.kind is FaultKind.INFRASTRUCTURE
    box.driver.failing.clear()


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


@pytest.mark.parametrize("usable", [True, False])
def test_a_box_whose_context_is_lost_is_not_asked_again(box, monkeypatch, usable):
    monkeypatch.setattr(device_memory, "is_usable", lambda: usable)
    with pytest.raises(Raised):
        box.session.call(Call("fail"))
    assert box.session.alive is usable


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
