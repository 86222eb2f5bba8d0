"""Keeps the pages of shared libraries in memory, so that no child is charged for reading them.

Takes: nothing. Gives: `LibraryPages`. Does not cover: pages that a child writes to.

The kernel charges a page of a file to whoever reads it first. When memory was short, or nobody
computed for a while, it has forgotten pages of torch's libraries (measured: 75 MiB after a minute),
and the next child would hold them on its account, and wait for the disk. So the warm process, whose
account is its own, asks for all of them before it forks.
"""

import os
import time

from . import kernel

AGAIN_SECONDS = 1.0
"""They are asked for once in so much time: 7 to 14 ms with all of 590 MiB there."""


class LibraryPages:
    """All that this process has mapped of files."""

    def __init__(self) -> None:
        self._ranges = _file_ranges()
        self._asked_s = -AGAIN_SECONDS

    def bring(self) -> None:
        """Bring every page into memory."""
        if time.monotonic() - self._asked_s < AGAIN_SECONDS:
            return
        for address, length in self._ranges:
            if not kernel.populate_for_reading(address, length):
                break  # an older kernel: pages stay as they are
        self._asked_s = time.monotonic()


def _file_ranges() -> list[tuple[int, int]]:
    """Return address and length of every mapping of a file. Source: proc_pid_maps(5)."""
    if not os.path.exists("/proc/self/maps"):
        return []
    ranges: list[tuple[int, int]] = []
    with open("/proc/self/maps") as lines:
        for line in lines:
            span, rights, _, _, _, *path = line.split(None, 5)
            if rights.startswith("r") and path and path[0].startswith("/"):
                low, high = (int(edge, 16) for edge in span.split("-"))
                ranges.append((low, high - low))
    return ranges
