"""Helpers for trees of plain files that replace Linux's cgroups; the trees are in `conftest`."""

from typing import Any

LIMITS: dict[str, Any] = {"memory_bytes": 512 << 20, "processes": 64}


def empty(folder):
    """Remove the files of a cgroup, as Linux does by itself."""
    for file in folder.iterdir():
        file.unlink()
