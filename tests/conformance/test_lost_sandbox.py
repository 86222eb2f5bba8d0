"""A sandbox that dies while a submission runs is our failure, is replaced, and leaves nothing."""

import contextlib
import os
import signal
import threading
import time

import pytest
import torch

from grader.assignment.steps import Call
from grader.evidence.faults import Fault, FaultKind, Stopped
from grader.sandbox import pool as pools
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE, connect_engine
from grader.sandbox.pool import SandboxPool
from grader.worker.session import Session
from tests.conformance.conftest import LIMITS, Kind, ask, loaded, pid_of
from tests.flows.leftovers import Watch, containers, parents, watch

pytestmark = pytest.mark.slow


def kill_sandbox(kind: Kind, session: Session, folder: str) -> None:
    """End the container, or the fork server, which is the parent of every child."""
    if kind.name == "docker":
        with contextlib.closing(connect_engine()) as client:
            (name,) = containers(folder)
            client.containers.get(name).kill()
    else:
        os.kill(parents()[pid_of(session)][0], signal.SIGKILL)


def call_and_kill(kind: Kind, session: Session, folder: str) -> Fault:
    killer = threading.Timer(0.5, kill_sandbox, (kind, session, folder))
    killer.start()
    begin = time.monotonic()
    with pytest.raises(Stopped) as stopped:
        session.call(Call("sleep", LIMITS.call_wall_s))
    assert time.monotonic() - begin < LIMITS.call_wall_s / 2
    killer.join()
    return stopped.value.fault


def test_a_lost_sandbox_is_our_failure_and_is_replaced(
    kind: Kind, watched: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "make_backend", lambda _: kind.make())
    with watch() as watching:
        monkeypatch.setattr("tempfile.tempdir", str(watching.folder))
        sandboxes = SandboxPool(
            kind.name,
            LIMITS,
            isolation=Isolation.WARM,
            jobs=1,
            device="cpu",
            image=DEFAULT_IMAGE,
        )
        with contextlib.closing(sandboxes):
            with sandboxes.borrow() as lost:
                with loaded(lost) as session:
                    fault = call_and_kill(kind, session, str(watching.folder))
                assert fault.kind is FaultKind.INFRASTRUCTURE, fault
                assert not lost.usable
                with pytest.raises(Exception, match="fork server"):
                    ask(lost, "double", torch.ones(2))
            with sandboxes.borrow() as fresh:
                assert fresh is not lost
                assert torch.equal(ask(fresh, "double", torch.ones(2)), torch.full((2,), 2.0))
        assert watching.left(descriptors_too=True) == []
