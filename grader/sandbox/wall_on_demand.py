"""A wall that starts with the first submission that needs it, and is lent to one at a time.

Takes: what a pool takes. Gives: `WallOnDemand`. Does not cover: several at a time (see
`sandbox.pool`).
"""

import threading
from contextlib import AbstractContextManager

from grader.plan.limits import Limits
from grader.sandbox.contract import Isolation
from grader.sandbox.pool import WallPool
from grader.sandbox.wall import Wall


class WallOnDemand:
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
        self._pools: list[WallPool] = []

    def borrow(self) -> AbstractContextManager[Wall]:
        """Lend the wall for one block, started if it is not there; others wait.

        Raises:
            SandboxError: if it cannot be started.
        """
        with self._lock:
            if not self._pools:
                pool = WallPool(
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
