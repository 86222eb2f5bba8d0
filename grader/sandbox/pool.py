"""Walls for a batch: one per worker slot, used again when warm, thrown away when strict.

Takes: the name of a backend, limits, a number of slots. Gives: `WallPool`, which lends one wall
at a time to each worker. Does not cover: what happens behind a wall.
"""

import contextlib
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from grader.errors import SandboxError
from grader.plan.assignment import Limits
from grader.sandbox.backends import make_backend
from grader.sandbox.contract import Backend, Isolation, WallSpec
from grader.sandbox.wall import Wall

WARM_MEMORY_BYTES = 2 << 30
"""Room for the warm process itself: torch and Triton imported, page cache of their files."""
WARM_PROCESSES = 64
FILE_BYTES = 256 << 20


def wall_spec(
    limits: Limits, *, slot: int, device: str, image: str, gpu_uuid: str = ""
) -> WallSpec:
    """Return what a wall for submissions under `limits` must hold."""
    return WallSpec(
        slot=slot,
        device=device,
        memory_bytes=limits.memory_bytes * limits.ranks + WARM_MEMORY_BYTES,
        processes=limits.processes * limits.ranks + WARM_PROCESSES,
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


class WallPool:
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
        self._standing: set[Wall] = set()
        self._lock = threading.Lock()
        self._builders = ThreadPoolExecutor(jobs, thread_name_prefix="wall")
        ahead = 1 if isolation is Isolation.STRICT else 0
        self._free_slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[Future[Wall]] = queue.SimpleQueue()
        self._asides: queue.LifoQueue[Wall | None] = queue.LifoQueue()  # built when first asked for
        for _ in range(jobs):
            self._asides.put(None)
        for slot in range(first_slot, first_slot + slots_of(jobs) - 1 + ahead):
            self._free_slots.put(slot)
        for _ in range(jobs + ahead):
            self._order_wall()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Wall]:
        """Lend a wall with nothing in it.

        Raises:
            SandboxError: if none could be built.
        """
        future = self._ready.get()
        try:
            wall = future.result()
        except SandboxError:
            self._order_wall()
            raise
        try:
            yield wall
        finally:
            if wall.usable and self.isolation is Isolation.WARM:
                self._ready.put(future)
            else:
                self._replace(wall)

    @contextlib.contextmanager
    def borrow_pair(self) -> Iterator[tuple[Wall, Wall]]:
        """Lend a wall for a submission and one of those that are kept for the reference.

        Raises:
            SandboxError: if either could not be built.
        """
        with self.borrow() as wall, self._borrow_aside() as aside:
            yield wall, aside

    @contextlib.contextmanager
    def _borrow_aside(self) -> Iterator[Wall]:
        aside = self._asides.get()
        try:
            if aside is not None and not aside.usable:
                broken, aside = aside, None
                self._discard(broken)
            if aside is None:
                # Not in the caller's thread: bubblewrap dies with the thread that started it.
                aside = self._builders.submit(self._build).result()
            yield aside
        finally:
            self._asides.put(aside)

    def close(self) -> None:
        """Take every wall down.

        Raises:
            SandboxError: if one stays; the others are down all the same.
        """
        self._closed = True
        self._builders.shutdown(wait=True, cancel_futures=True)
        failed: list[SandboxError] = []
        for wall in list(self._standing):
            try:
                self._take_down(wall)
            except SandboxError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def _replace(self, wall: Wall) -> None:
        """Take a wall down and have another one built."""
        try:
            self._discard(wall)
        finally:
            self._order_wall()

    def _discard(self, wall: Wall) -> None:
        """Take a wall down; what was measured behind it stands.

        One that resists is remembered, not raised: it is tried again at the end.
        """
        try:
            self._take_down(wall)
        except SandboxError:
            with self._lock:
                self._standing.add(wall)

    def _order_wall(self) -> None:
        """Have a wall built in the background for the next free slot."""
        if self._closed:
            return
        self._ready.put(self._builders.submit(self._build))

    def _build(self) -> Wall:
        slot = self._free_slots.get()
        try:
            spec = wall_spec(
                self._limits,
                slot=slot,
                device=self._device,
                image=self._image,
                gpu_uuid=self._gpu_uuid,
            )
            started = self._backend.start(spec)
            try:
                wall = Wall(started, spec, self._limits)
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
            self._standing.add(wall)
            self.image_id = started.image_id
        return wall

    def _take_down(self, wall: Wall) -> None:
        with self._lock:
            self._standing.discard(wall)
        try:
            wall.close()
        finally:
            self._free_slots.put(wall.slot)
