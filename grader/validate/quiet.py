"""Checks that run together, and times that are taken without them.

Takes: how many checks run at a time. Gives: `Quiet`. Does not cover: who else uses the machine (see
`device.lease`).
"""

import contextlib
import threading
from collections.abc import Iterator


class Quiet:
    """Keeps checks from beginning while something is timed.

    Args:
        most: checks that run at the same time at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._gate = threading.Lock()
        self._places = threading.Semaphore(most)

    @contextlib.contextmanager
    def checking(self) -> Iterator[None]:
        """Run a check, once nothing is timed."""
        with self._gate:
            self._places.acquire()
        try:
            yield
        finally:
            self._places.release()

    @contextlib.contextmanager
    def timing(self) -> Iterator[None]:
        """Time something, once the checks that run have ended; none begins meanwhile."""
        with self._gate:
            for _ in range(self._most):
                self._places.acquire()
            self._places.release(self._most)
            yield
