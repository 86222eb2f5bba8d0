"""Walls for a batch: one per worker slot, used again when warm, thrown away when strict.

Takes: the name of a backend, limits, a number of slots. Gives: `SandboxPool`, which lends one wall
at a time to each worker. Does not cover: what happens behind a wall.
"""

import contextlib
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

from grader.assignment.table import Limits
from grader.errors import SandboxError
from grader.sandbox.backends import make_backend
from grader.sandbox.contract import Backend, Isolation, SandboxSpec
from grader.sandbox.sandbox import Sandbox

FORK_SERVER_MEMORY_BYTES = 2 << 30
"""Room for the warm process itself: torch and Triton imported, page cache of their files."""
FORK_SERVER_PROCESSES = 64
FILE_BYTES = 256 << 20


def sandbox_spec(
    limits: Limits, *, slot: int, device: str, image: str, gpu_uuid: str = ""
) -> SandboxSpec:
    """Return what a wall for submissions under `limits` must hold."""
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


def slots_of(jobs: int) -> int:
    """Return how many slots a pool needs: of the workers, of their references, the one ahead."""
    return 2 * jobs + 1


class SandboxPool:
    """Lends walls; the next strict wall is started ahead of time, beside the one in use.

    Attributes:
        sandbox: name of the backend.
        isolation: whether walls are used again.
        caveats: what a self-test found not to hold in an unconfined run; shown in every record.
        image_id: content address of the walls' container image, known once a wall stands; empty
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
        self._device = device
        self._image = image
        self._gpu_uuid = gpu_uuid
        self._closed = False
        self._standing: set[Sandbox] = set()
        self._lock = threading.Lock()
        self._builders = ThreadPoolExecutor(jobs, thread_name_prefix="wall")
        ahead = 1 if isolation is Isolation.STRICT else 0
        self._free_slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[Future[Sandbox]] = queue.SimpleQueue()
        self._reference_sandboxes: queue.LifoQueue[Sandbox | None] = (
            queue.LifoQueue()
        )  # built when first asked for
        for _ in range(jobs):
            self._reference_sandboxes.put(None)
        for slot in range(first_slot, first_slot + slots_of(jobs) - 1 + ahead):
            self._free_slots.put(slot)
        for _ in range(jobs + ahead):
            self._order_sandbox()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Sandbox]:
        """Lend a wall with nothing in it.

        Raises:
            SandboxError: if none could be built.
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
                self._replace(sandbox)

    @contextlib.contextmanager
    def borrow_pair(self) -> Iterator[tuple[Sandbox, Sandbox]]:
        """Lend a wall for a submission and one of those that are kept for the reference.

        Raises:
            SandboxError: if either could not be built.
        """
        with self.borrow() as sandbox, self._borrow_for_reference() as reference_sandbox:
            yield sandbox, reference_sandbox

    @contextlib.contextmanager
    def _borrow_for_reference(self) -> Iterator[Sandbox]:
        reference_sandbox = self._reference_sandboxes.get()
        try:
            if reference_sandbox is not None and not reference_sandbox.usable:
                broken, reference_sandbox = reference_sandbox, None
                self._discard(broken)
            if reference_sandbox is None:
                # Not in the caller's thread: bubblewrap dies with the thread that started it.
                reference_sandbox = self._builders.submit(self._build).result()
            yield reference_sandbox
        finally:
            self._reference_sandboxes.put(reference_sandbox)

    def close(self) -> None:
        """Take every wall down.

        Raises:
            SandboxError: if one stays; the others are down all the same.
        """
        self._closed = True
        self._builders.shutdown(wait=True, cancel_futures=True)
        failed: list[SandboxError] = []
        for sandbox in list(self._standing):
            try:
                self._take_down(sandbox)
            except SandboxError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def _replace(self, sandbox: Sandbox) -> None:
        """Take a wall down and have another one built."""
        try:
            self._discard(sandbox)
        finally:
            self._order_sandbox()

    def _discard(self, sandbox: Sandbox) -> None:
        """Take a wall down; what was measured behind it stands.

        One that resists is remembered, not raised: it is tried again at the end.
        """
        try:
            self._take_down(sandbox)
        except SandboxError:
            with self._lock:
                self._standing.add(sandbox)

    def _order_sandbox(self) -> None:
        """Have a wall built in the background for the next free slot."""
        if self._closed:
            return
        self._ready.put(self._builders.submit(self._build))

    def _build(self) -> Sandbox:
        slot = self._free_slots.get()
        try:
            spec = sandbox_spec(
                self._limits,
                slot=slot,
                device=self._device,
                image=self._image,
                gpu_uuid=self._gpu_uuid,
            )
            started = self._backend.start(spec)
            try:
                sandbox = Sandbox(started, spec, self._limits)
            except BaseException:
                started.stop()
                raise
        except OSError as error:  # no room for a folder, no descriptor, no process
            self._free_slots.put(slot)
            raise SandboxError(
                f"a wall could not be built: {error}",
                hint="make room in the temporary folder, or close what else runs; then run again",
            ) from error
        except BaseException:
            self._free_slots.put(slot)
            raise
        with self._lock:
            self._standing.add(sandbox)
            self.image_id = started.image_id
        return sandbox

    def _take_down(self, sandbox: Sandbox) -> None:
        with self._lock:
            self._standing.discard(sandbox)
        try:
            sandbox.close()
        finally:
            self._free_slots.put(sandbox.slot)


class SandboxOnDemand:
    """One wall, of a kind that few submissions of a batch need."""

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
        self._sandbox = sandbox
        self._limits = limits
        self._isolation = isolation
        self._device = device
        self._image = image
        self._first_slot = first_slot
        self._lock = threading.Lock()
        self._pools: list[SandboxPool] = []

    def borrow(self) -> AbstractContextManager[Sandbox]:
        """Lend the wall for one block, started if it is not there; others wait.

        Raises:
            SandboxError: if it cannot be started.
        """
        with self._lock:
            if not self._pools:
                pool = SandboxPool(
                    self._sandbox,
                    self._limits,
                    isolation=self._isolation,
                    jobs=1,
                    device=self._device,
                    image=self._image,
                    first_slot=self._first_slot,
                )
                self._pools.append(pool)
        return self._pools[0].borrow()

    def close(self) -> None:
        """Take the wall down, if it was ever started."""
        for pool in self._pools:
            pool.close()
