"""A session on a device, with the real child at the other end and memory files for a device."""

import contextlib
import os
import socket
import time
from types import SimpleNamespace

import pytest
import torch

from grader.assignment.steps import Call, New, Ref
from grader.errors import DeviceError, SandboxError
from grader.evidence.device import ThrottleReasons
from grader.evidence.faults import Ending, FaultKind, Raised, Stopped
from grader.intake.submission import Origin, SourceFile, Submission
from grader.runner.cuda import memory as device_memory
from grader.runner.cuda import worker as cuda_worker
from grader.sandbox.contract import Isolation
from grader.sandbox.pool import SandboxPool
from grader.worker.cuda.session import open_device_session
from tests.unit.worker.cuda.device_worker import LIMITS, Events
from tests.unit.worker.cuda.fake_driver import FakeDriver


def test_a_call_goes_there_and_back(worker):
    got = worker.session.call(Call("double", torch.arange(5.0)))
    assert got.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    (timed,) = worker.session.claims()
    assert timed.events_ns == (1234,)
    assert 0 < timed.wall_ns == worker.session.wall_ns


def test_the_worker_finds_the_judges_device_alone(worker):
    assert os.environ["CUDA_VISIBLE_DEVICES"] == worker.driver.facts.uuid


def test_objects_live_in_the_worker(worker):
    worker.session.new(Ref(0), New("Adder", torch.ones(2)))
    assert worker.session.call(Call(Ref(0), "add", torch.ones(2))).tolist() == [2.0, 2.0]
    assert worker.session.call(Call(Ref(0), "add", torch.ones(2))).tolist() == [3.0, 3.0]
    assert len(worker.session.claims()) == 3
    assert sum(call.wall_ns for call in worker.session.claims()) == worker.session.wall_ns


def test_the_cache_is_cold_and_the_reply_poisoned_before_the_worker_runs(worker):
    worker.session.call(Call("double", torch.ones(2)))
    thaws = [calls for what, calls in worker.log if what == "thaw"]
    assert thaws[-1] == ["forget_persisting_lines", "fill", "synchronize"]
    order = worker.driver.calls
    written = len(order) - 1 - order[::-1].index("write")
    assert "fill" in order[written:]  # after the arguments: they lie in no cache


def test_a_timed_call_asks_the_device_for_this_and_in_this_order(worker, monkeypatch):
    calls = worker.driver.calls
    monkeypatch.setattr(worker, "thaw", lambda: calls.append("THAW"))
    monkeypatch.setattr(worker, "freeze", lambda: calls.append("FREEZE"))
    for _ in range(2):
        before = len(calls)
        worker.session.call(Call("double", torch.ones(2)))
        seen = [name for name in calls[before:] if name != "free"]  # of the last call's arguments
        assert seen == [
            *("allocate", "write", "export"),  # the arguments
            "fill",  # the reply: poisoned
            *("forget_persisting_lines", "fill", "synchronize"),  # a cold cache
            "THAW",
            *("copy", "synchronize"),  # the reply that counts; the clock stops
            "FREEZE",
            "state",  # what slowed the device down
            "read",  # the reply's value
            *("synchronize", "read"),  # the arguments are as they were
        ]


def test_the_flush_writes_twice_the_cache_of_the_device(worker, monkeypatch):
    filled = []
    fill = worker.driver.fill

    def keep(block, value):
        filled.append(block.size_bytes)
        fill(block, value)

    monkeypatch.setattr(worker.driver, "fill", keep)
    worker.session.call(Call("double", torch.ones(2)))
    assert filled == [LIMITS.reply_bytes, 2 * worker.driver.facts.cache_bytes]


def test_states_are_those_of_all_replies_since_the_last_time(worker):
    worker.session.device_states()
    worker.driver.reasons = ThrottleReasons.HW_SLOWDOWN
    worker.session.call(Call("double", torch.ones(2)))
    worker.driver.reasons = ThrottleReasons.GPU_IDLE
    (seen,) = worker.session.device_states()
    assert seen.reasons == ThrottleReasons.HW_SLOWDOWN | ThrottleReasons.GPU_IDLE
    (now,) = worker.session.device_states()
    assert now.reasons == ThrottleReasons.GPU_IDLE


def test_a_worker_that_names_no_time_has_claimed_none(worker, monkeypatch):
    monkeypatch.setattr(
        cuda_worker.CudaWorkerProcess, "carry_out", lambda *a: {"value": None, "tensors": []}
    )
    worker.session.call(Call("double", torch.ones(1)))
    assert [claim.events_ns for claim in worker.session.claims()] == [()]


def test_a_call_without_tensors_transfers_nothing(worker):
    worker.session.call(Call("allocate", 0))
    worker.session.call(Call("double", torch.ones(1)))
    granule = worker.driver.facts.granularity_bytes
    assert [claim.transfer_bytes for claim in worker.session.claims()] == [0, granule]


def test_a_worker_that_ends_as_its_device_does_is_no_students_fault(worker):
    def vanish(child, wait_s):
        worker.driver.failing.update(state=15, synchronize=719)
        return Ending(sandbox_alive=True, exited=True, status=256, oom_kills=0)

    worker.ending = vanish
    worker.session._channel._sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(Stopped) as caught:
        worker.session.call(Call("double", torch.ones(2)))
    assert caught.value.fault.kind is FaultKind.INFRASTRUCTURE
    worker.driver.failing.clear()


def test_the_snapshot_comes_before_the_freeze(worker):
    worker.session.call(Call("double", torch.ones(2)))
    assert [calls for what, calls in worker.log if what == "freeze"][-1] == ["copy", "synchronize"]


def test_the_clock_waits_for_the_snapshot(worker, monkeypatch):
    copy = worker.driver.copy

    def slow(source, target):
        time.sleep(0.05)
        copy(source, target)

    monkeypatch.setattr(worker.driver, "copy", slow)
    worker.session.call(Call("double", torch.ones(2)))
    assert worker.session.claims()[-1].wall_ns > 50_000_000


def test_a_changed_input_is_seen(worker):
    with pytest.raises(Stopped) as caught:
        worker.session.call(Call("spoil", torch.zeros(2)))
    assert caught.value.fault.kind is FaultKind.INPUT_CHANGED


def test_memory_that_runs_out_in_the_worker_is_the_students(worker):
    with pytest.raises(Raised) as caught:
        worker.session.call(Call("run_out", torch.zeros(2)))
    assert "MemoryError" in caught.value.names
    assert not worker.session.claims()


@pytest.mark.parametrize("usable", [True, False])
def test_a_worker_whose_context_is_lost_is_not_asked_again(worker, monkeypatch, usable):
    monkeypatch.setattr(device_memory, "is_usable", lambda: usable)
    with pytest.raises(Raised):
        worker.session.call(Call("fail"))
    assert worker.session.alive is usable


def test_a_device_that_refuses_the_judge_is_ours(worker):
    worker.driver.failing["copy"] = 719
    with pytest.raises(Stopped) as caught:
        worker.session.call(Call("double", torch.zeros(2)))
    assert caught.value.fault.kind is FaultKind.INFRASTRUCTURE
    assert not worker.session.alive
    worker.driver.failing.clear()


@pytest.mark.parametrize(("share", "kind"), [(0.9, "OUT_OF_MEMORY"), (0.1, "INFRASTRUCTURE")])
def test_a_device_that_the_worker_has_filled(worker, share, kind):
    worker.driver.hold(int(worker.driver.free_bytes() * share))
    worker.driver.failing["allocate"] = 2
    with pytest.raises(Stopped) as caught:
        worker.session.call(Call("double", torch.zeros(2)))
    assert caught.value.fault.kind is FaultKind[kind]
    worker.driver.failing.clear()


@pytest.mark.parametrize("claim", [-5, "fast", None, {"a": 1}, 1 << 80])
def test_a_claim_that_is_no_time_is_none(worker, monkeypatch, claim):
    monkeypatch.setattr(Events, "claim", claim)
    worker.session.call(Call("double", torch.ones(1)))
    assert worker.session.claims()[-1].events_ns == ()


def test_a_device_without_free_memory_is_left_as_it_was():
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
def test_a_worker_without_a_device_is_our_fault():
    """A real fork server that is told of a device, on a machine that has none."""
    submission = Submission(
        name="ada",
        sha256="",
        origin=Origin.MODULE,
        entry="kv",
        files=(SourceFile(name="kv.py", text="raise SystemExit"),),
    )
    pool = SandboxPool("none", LIMITS, isolation=Isolation.WARM, jobs=1, device="cuda", image="")
    driver = FakeDriver(total_bytes=1 << 24)
    with contextlib.closing(pool), pool.borrow() as sandbox:
        opening = open_device_session(sandbox, submission, limits=LIMITS, driver=driver)
        with (
            opening as session,
            pytest.raises(SandboxError, match="could not begin to use the device") as caught,
        ):
            session.load()
        assert "CUDA" in caught.value.hint
    driver.close()
