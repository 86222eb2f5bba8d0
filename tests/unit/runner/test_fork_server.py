"""Modules are imported and pages of mapped files are prefaulted before a fork."""

import ctypes
import importlib.util
import mmap
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from grader.runner.fork_server import CHILD_MODULES, LibraryPages, _import_if_installed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

PAGES = 64


def dropped(path: Path) -> mmap.mmap:
    """Return a mapping of a file none of whose pages are in memory."""
    path.write_bytes(os.urandom(PAGES * mmap.PAGESIZE))
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    mapped = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE)
    os.close(fd)
    return mapped


def resident(mapped: mmap.mmap) -> int:
    """Return how many pages of a mapping are in memory. Source: mincore(2)."""
    pages = (ctypes.c_ubyte * PAGES)()
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(mapped)), pages) == 0
    return sum(page & 1 for page in pages)


def test_dropped_pages_come_back(tmp_path: Path):
    mapped = dropped(tmp_path / "library.so")
    before = resident(mapped)
    LibraryPages().prefault()
    assert resident(mapped) == PAGES
    assert before < PAGES or tmp_path.stat().st_dev == Path("/dev/shm").stat().st_dev


def pretend(monkeypatch: pytest.MonkeyPatch, *, can: bool) -> list[int]:
    """Replace prefaulting by a fake that succeeds or fails; return the list of its addresses."""
    asked: list[int] = []

    def populate(address: int, _: int) -> bool:
        asked.append(address)
        return can

    monkeypatch.setattr("grader.runner.fork_server.linux.populate_for_reading", populate)
    return asked


def test_pages_are_prefaulted_once_in_a_while(monkeypatch: pytest.MonkeyPatch):
    asked = pretend(monkeypatch, can=True)
    clock = iter((100.0, 100.0, 100.5, 101.1, 101.1))
    stopped = SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr("grader.runner.fork_server.time", stopped)
    pages = LibraryPages()
    pages.prefault()
    first = len(asked)
    pages.prefault()
    assert 0 < first == len(asked)
    pages.prefault()
    assert len(asked) == 2 * first


def test_a_linux_without_prefaulting_is_asked_once(monkeypatch: pytest.MonkeyPatch):
    asked = pretend(monkeypatch, can=False)
    LibraryPages().prefault()
    assert len(asked) == 1


def test_every_module_of_a_child_exists():
    for name in (*CHILD_MODULES, ".cuda.worker", ".interpreter", ".ahead_of_time"):
        assert importlib.util.find_spec(name, "grader.runner") is not None, name


def test_only_a_library_may_be_missing(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        _import_if_installed(".no_such_module")
    monkeypatch.delitem(sys.modules, "grader.runner.seccomp_rules", raising=False)
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    assert _import_if_installed(".seccomp_rules") is None
