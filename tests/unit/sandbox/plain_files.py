"""What trees of plain files need to stand for the kernel's.

Takes: nothing. Gives: `LIMITS`, `empty`. Does not cover: the trees (see `conftest`).
"""

from typing import Any

LIMITS: dict[str, Any] = {"memory_bytes": 512 << 20, "processes": 64}


def empty(folder):
    """Remove the files of a group, as the kernel does with those it made up."""
    for file in folder.iterdir():
        file.unlink()
