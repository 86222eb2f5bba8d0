"""Sandboxes for a batch: each thread that grades borrows one at a time.

With `--isolation warm` a sandbox is used again for the next submission; with `strict` it is thrown
away. `Slots` gives every sandbox of a run a number of its own.
"""

import contextlib
import functools
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

from grader.assignment.table import Limits
from grader.errors import SandboxError
from grader.sandbox.backends import make_backend
from grader.sandbox.contract import Backend, Isolation, SandboxSpec
from grader.sandbox.sandbox import Sandbox

FORK_SERVER_MEMORY_BYTES = 2 << 30
"""For the fork server itself: torch, Triton, and the page cache of their files."""
FORK_SERVER_PROCESSES = 64
FILE_BYTES = 256 << 20


def sandbox_spec(
    limits: Limits, *, slot: int, device: str, image: str, gpu_uuid: str = ""
) -> SandboxSpec:
    """Return what to ask of a sandbox for submissions under `limits`."""
    return SandboxSpec(
        slot=slot,
        device=device,
        memory_bytes=limits.memory_bytes * limits.ranks + FORK_SERVER_MEMORY_BYTES,
        processes=limits.processes * limits.ranks + FORK_SERVER_PROCESSES,
        file_bytes=FILE_BYTES,
        threads=1,
        image=image,
        gpu_uuid=gpu_uuid,
        loopback=limits.loopback,
        preload=limits.preload,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Numbers for all sandboxes of a run: no two have the same, so they share no uid and no CPU.

    Attributes:
        grading: for the pool that grades.
        advice: for the sandbox that compiles Triton kernels for advice.
        building: for the sandbox that compiles submissions in CUDA C++.
    """

    grading: range
    advice: range
    building: range

    @classmethod
    def of_run(cls, jobs: int) -> "Slots":
        """Return the slots of a run that grades `jobs` submissions at a time."""
        grading, one_pool = slot_count(jobs), slot_count(1)
        building = grading + one_pool
        return cls(
            grading=range(grading),
            advice=range(grading, building),
            building=range(building, building + one_pool),
        )


def slot_count(jobs: int) -> int:
    """Return how many slots a pool needs: one per job, one per reference, and one started ahead."""
    return 2 * jobs + 1


class SandboxPool:
    """Lends sandboxes; with strict isolation it starts the next one while one is in use.

    Attributes:
        sandbox: name of the backend.
        caveats: limits that did not hold in the self-test of an unconfined run; they are shown in
            every record.
        image_id: content address of the container image; empty before the first sandbox runs, and
            without a container.
    """

    def __init__(
        self,
        sandbox: str,
        limits: Limits,
        *,
        isolation: Isolation,
        jobs: int,
        device: str,
        image: str,
        first_slot: int = 0,
        gpu_uuid: str = "",
    ) -> None:
        self.sandbox = sandbox
        self.isolation = isolation
        self.caveats: tuple[str, ...] = ()
        self.image_id = ""
        self._backend: Backend = make_backend(sandbox)
        self._limits = limits
        self._make_spec = functools.partial(
            sandbox_spec, limits, device=device, image=image, gpu_uuid=gpu_uuid
        )
        self._closed = False
        self._running: set[Sandbox] = set()
        self._lock = threading.Lock()
        self._builders = ThreadPoolExecutor(jobs, thread_name_prefix="sandbox")
        ahead = 1 if isolation is Isolation.STRICT else 0
        self._free_slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[Future[Sandbox]] = queue.SimpleQueue()
        self._reference_sandboxes: queue.LifoQueue[Sandbox | None] = queue.LifoQueue()
        for _ in range(jobs):
            self._reference_sandboxes.put(None)  # None: not built yet
        for slot in range(first_slot, first_slot + slot_count(jobs) - 1 + ahead):
            self._free_slots.put(slot)
        for _ in range(jobs + ahead):
            self._order_sandbox()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Sandbox]:
        """Lend an empty sandbox.

        Raises:
            SandboxError: if it could not be built.
        """
        future = self._ready.get()
        try:
            sandbox = future.result()
        except SandboxError:
            self._order_sandbox()
            raise
        try:
            yield sandbox
        finally:
            if sandbox.usable and self.isolation is Isolation.WARM:
                self._ready.put(future)
            else:
                try:
                    self._discard(sandbox)
                finally:
                    self._order_sandbox()

    @contextlib.contextmanager
    def borrow_pair(self) -> Iterator[tuple[Sandbox, Sandbox]]:
        """Lend a sandbox for a submission, and one of those that are kept for the reference.

        Raises:
            SandboxError: if either could not be built.
        """
        with self.borrow() as sandbox:
            reference_sandbox = self._reference_sandboxes.get()
            try:
                if reference_sandbox is not None and not reference_sandbox.usable:
                    lost, reference_sandbox = reference_sandbox, None
                    self._discard(lost)
                if reference_sandbox is None:
                    # Not in the caller's thread: bubblewrap ends with the thread that started it.
                    reference_sandbox = self._builders.submit(self._build).result()
                yield sandbox, reference_sandbox
            finally:
                self._reference_sandboxes.put(reference_sandbox)

    def close(self) -> None:
        """Close every sandbox.

        Raises:
            SandboxError: if one cannot be removed; all others are closed.
        """
        self._closed = True
        self._builders.shutdown(wait=True, cancel_futures=True)
        failed: list[SandboxError] = []
        for sandbox in list(self._running):
            try:
                self._close_one(sandbox)
            except SandboxError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def _discard(self, sandbox: Sandbox) -> None:
        """Close a sandbox; its measurements stay valid even if that fails.

        One that cannot be removed raises no error here: `close` tries again.
        """
        try:
            self._close_one(sandbox)
        except SandboxError:
            with self._lock:
                self._running.add(sandbox)

    def _order_sandbox(self) -> None:
        """Start a sandbox in the background, in the next free slot."""
        if not self._closed:
            self._ready.put(self._builders.submit(self._build))

    def _build(self) -> Sandbox:
        slot = self._free_slots.get()
        spec = self._make_spec(slot=slot)
        with contextlib.ExitStack() as undo:
            undo.callback(self._free_slots.put, slot)
            try:
                started = self._backend.start(spec)
            except OSError as error:  # no disk space, descriptor or process left
                raise SandboxError(
                    f"a sandbox could not be built: {error}",
                    hint="free space in the temporary folder or end other programs, then run it "
                    "again",
                ) from error
            undo.pop_all()
        sandbox = Sandbox(started, spec, self._limits)
        with self._lock:
            self._running.add(sandbox)
            self.image_id = started.image_id
        return sandbox

    def _close_one(self, sandbox: Sandbox) -> None:
        with self._lock:
            self._running.discard(sandbox)
        try:
            sandbox.close()
        finally:
            self._free_slots.put(sandbox.slot)


class SandboxOnDemand:
    """One sandbox that is started only when a submission needs it."""

    def __init__(
        self,
        sandbox: str,
        limits: Limits,
        *,
        isolation: Isolation,
        device: str,
        image: str,
        first_slot: int,
    ) -> None:
        self._make_pool = functools.partial(
            SandboxPool,
            sandbox,
            limits,
            isolation=isolation,
            jobs=1,
            device=device,
            image=image,
            first_slot=first_slot,
        )
        self._lock = threading.Lock()
        self._pools: list[SandboxPool] = []

    def borrow(self) -> AbstractContextManager[Sandbox]:
        """Lend the sandbox for one block, and start it if needed; other threads wait.

        Raises:
            SandboxError: if it cannot be started.
        """
        with self._lock:
            if not self._pools:
                self._pools.append(self._make_pool())
        return self._pools[0].borrow()

    def close(self) -> None:
        """Close the sandbox, if it was ever started."""
        for pool in self._pools:
            pool.close()
