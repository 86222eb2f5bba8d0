"""A pool survives a sandbox that cannot be built or removed, and leaves none behind."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable

import pytest

from grader.assignment.table import Limits
from grader.errors import SandboxError
from grader.runner.order import WorkerKind
from grader.sandbox import pool as pools
from grader.sandbox import sandbox as sandboxes
from grader.sandbox.contract import Isolation, SandboxSpec, Started
from grader.sandbox.pool import SandboxPool, Slots


class FakeBackend:
    """Builds empty sandboxes; fails when it is told to."""

    def __init__(self) -> None:
        self.running: list[int] = []
        self.build_errors: list[Exception] = []
        self.stop_errors: list[Exception] = []
        self.threads: list[threading.Thread] = []
        self.built = 0

    def start(self, spec: SandboxSpec) -> Started:
        if self.build_errors:
            raise self.build_errors.pop()
        self.threads.append(threading.current_thread())
        self.built += 1
        number = self.built
        self.running.append(number)
        ours, theirs = socket.socketpair()

        def stop() -> None:
            ours.close()
            theirs.close()
            if self.stop_errors:
                raise self.stop_errors.pop()
            if number in self.running:
                self.running.remove(number)

        return Started(
            control=ours,
            stop=stop,
            log=lambda: "",
            layers=("nothing",),
            worker_kind=WorkerKind.PLAIN,
            first_uid=0,
            home=os.devnull,
            image_id=f"sha256:{spec.image}",
        )


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    fake = FakeBackend()
    monkeypatch.setattr(pools, "make_backend", lambda _: fake)
    monkeypatch.setattr(sandboxes, "make_cgroup", lambda *_, **__: None)
    return fake


def make_pool(isolation: Isolation = Isolation.WARM) -> SandboxPool:
    return SandboxPool("fake", Limits(), isolation=isolation, jobs=1, device="cpu", image="")


def within(action: Callable[[], object], seconds: float = 10.0) -> None:
    """Run an action that must not block for ever."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it waits for ever"


def use_once(pool: SandboxPool) -> None:
    with pool.borrow():
        pass


def test_a_warm_sandbox_is_used_again(backend: FakeBackend) -> None:
    pool = make_pool()
    for _ in range(3):
        use_once(pool)
    pool.close()
    assert (backend.built, backend.running) == (1, [])


def test_a_strict_sandbox_is_used_once(backend: FakeBackend) -> None:
    pool = make_pool(Isolation.STRICT)
    for _ in range(3):
        use_once(pool)
    pool.close()
    assert backend.built >= 3
    assert backend.running == []


def test_a_sandbox_that_cannot_be_removed_does_not_stop_the_class(backend: FakeBackend) -> None:
    pool = make_pool(Isolation.STRICT)
    backend.stop_errors = [SandboxError("busy")]
    for _ in range(3):
        within(lambda: use_once(pool))
    pool.close()
    assert backend.running == []  # it was tried again at the end


@pytest.mark.parametrize("error", [SandboxError("no engine"), OSError(28, "no space")])
def test_a_sandbox_that_cannot_be_built_costs_one_submission(
    backend: FakeBackend, error: Exception
) -> None:
    backend.build_errors = [error]
    pool = make_pool()
    with pytest.raises(SandboxError):
        use_once(pool)
    within(lambda: use_once(pool))
    pool.close()
    assert backend.running == []


def test_a_child_without_limits_is_never_forked(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise SandboxError("a cgroup could not be made")

    monkeypatch.setattr(sandboxes, "make_cgroup", refuse)
    pool = make_pool()
    with (
        pool.borrow() as sandbox,
        pytest.raises(SandboxError, match="cgroup"),
        sandbox.child(0),
    ):
        pass
    pool.close()
    assert backend.running == []


def test_close_removes_every_sandbox_and_then_raises(backend: FakeBackend) -> None:
    pool = SandboxPool("fake", Limits(), isolation=Isolation.WARM, jobs=3, device="cpu", image="")
    for _ in range(3):
        use_once(pool)
    backend.stop_errors = [SandboxError("busy")]
    with pytest.raises(SandboxError, match="busy"):
        pool.close()
    assert len(backend.running) == 1


def test_as_many_pairs_are_borrowed_at_a_time_as_there_are_jobs(backend: FakeBackend) -> None:
    pool = SandboxPool("fake", Limits(), isolation=Isolation.WARM, jobs=2, device="cpu", image="")
    with pool.borrow_pair() as first, pool.borrow_pair() as second:
        slots = {sandbox.slot for sandbox in (*first, *second)}
        assert len(slots) == 4
        assert slots <= set(Slots.of_run(2).grading)
    pool.close()
    assert backend.running == []


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_the_slots_of_a_run_are_disjoint(jobs: int) -> None:
    slots = Slots.of_run(jobs)
    every = [*slots.grading, *slots.advice, *slots.building]
    assert every == list(range(len(every)))
    assert len(slots.grading) == 2 * jobs + 1


def test_one_at_a_time_share_a_reference_sandbox(backend: FakeBackend) -> None:
    pool = SandboxPool("fake", Limits(), isolation=Isolation.WARM, jobs=3, device="cpu", image="")
    reference_sandboxes = set()
    for _ in range(3):
        with pool.borrow_pair() as (_, reference_sandbox):
            reference_sandboxes.add(reference_sandbox)
    assert len(reference_sandboxes) == 1
    pool.close()


def test_a_sandbox_outlives_the_thread_that_first_borrowed_it(backend: FakeBackend) -> None:
    pool = make_pool()

    def borrow() -> None:
        with pool.borrow_pair():
            pass

    within(borrow)
    living = set(threading.enumerate())
    assert set(backend.threads) <= living
    pool.close()


def test_a_lost_reference_sandbox_is_built_anew(backend: FakeBackend) -> None:
    pool = make_pool()
    with pool.borrow_pair() as (_, reference_sandbox):
        reference_sandbox.usable = False
    backend.stop_errors = [SandboxError("busy")]
    with pool.borrow_pair() as (sandbox, another):
        assert another.slot != sandbox.slot
        assert another is not reference_sandbox
    pool.close()
    assert backend.running == []  # it was tried again at the end


def test_a_pool_knows_the_image_of_its_sandboxes(backend: FakeBackend) -> None:
    pool = SandboxPool("fake", Limits(), isolation=Isolation.WARM, jobs=1, device="cpu", image="i")
    with contextlib.closing(pool), pool.borrow():
        assert pool.image_id == "sha256:i"
