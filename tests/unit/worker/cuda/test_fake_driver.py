"""The fake is as strict as a device, and its memory reaches another process."""

import contextlib
import os
import subprocess
import sys

import pytest

from grader.errors import DeviceError
from grader.worker.cuda.driver import DeviceDriver
from grader.worker.cuda.reserved_memory import CacheFlush
from tests.unit.worker.cuda.fake_driver import GRANULE_BYTES as GRANULE
from tests.unit.worker.cuda.fake_driver import FakeDriver


@pytest.fixture
def driver():
    return FakeDriver(total_bytes=64 * GRANULE, cache_bytes=3 * GRANULE)


def test_it_is_a_driver(driver):
    complete: DeviceDriver = driver
    assert complete.facts.round_up(1) == GRANULE


def test_bytes_go_there_and_back(driver):
    block, other = driver.allocate(2 * GRANULE), driver.allocate(4 * GRANULE)
    assert driver.read(block, GRANULE) == bytes(GRANULE)
    driver.fill(block, 0xFF)
    driver.write(block, b"hello")
    assert driver.read(block, 7) == b"hello\xff\xff"
    assert driver.read(block, 2, offset=4) == b"o\xff"
    driver.copy(block, other)
    assert driver.read(other, 2 * GRANULE) == driver.read(block, 2 * GRANULE)
    assert driver.read(other, 1, offset=2 * GRANULE) == b"\0"


def test_an_export_is_the_same_memory_elsewhere(driver):
    block = driver.allocate(GRANULE)
    fd = driver.export(block)
    worker = "import os, sys; os.pwrite(int(sys.argv[1]), b'from the worker', 0)"
    subprocess.run([sys.executable, "-c", worker, str(fd)], pass_fds=(fd,), check=True)
    here = driver.attach(fd, GRANULE)
    os.close(fd)
    assert driver.read(block, 15) == driver.read(here, 15) == b"from the worker"
    driver.free(block)
    assert driver.read(here, 4) == b"from"  # it lives while somebody maps it


def test_memory_runs_out_and_comes_back(driver):
    block = driver.allocate(60 * GRANULE)
    with pytest.raises(DeviceError) as caught:
        driver.allocate(5 * GRANULE)
    assert caught.value.code == 2
    driver.free(block)
    assert driver.free_bytes() == 64 * GRANULE


@pytest.mark.parametrize("size", [0, -GRANULE, 1, GRANULE + 1])
def test_sizes_are_whole_granules(driver, size):
    with pytest.raises(DeviceError) as caught:
        driver.allocate(size)
    assert caught.value.code == 1


def test_what_is_freed_or_outside_is_gone(driver):
    block, large = driver.allocate(GRANULE), driver.allocate(2 * GRANULE)
    for act in (
        lambda: driver.write(block, bytes(GRANULE + 1)),
        lambda: driver.read(block, 1, offset=GRANULE),
        lambda: driver.copy(large, block),
    ):
        with pytest.raises(DeviceError, match="of a block of"):
            act()
    driver.free(block)
    for act in (
        lambda: driver.read(block, 0),
        lambda: driver.free(block),
        lambda: driver.export(block),
    ):
        with pytest.raises(DeviceError, match="freed"):
            act()


def test_a_call_can_be_made_to_fail(driver):
    driver.failing["synchronize"] = 719
    with pytest.raises(DeviceError) as caught:
        driver.synchronize()
    assert (caught.value.call, caught.value.code) == ("synchronize", 719)


def test_blocks_that_were_forgotten_are_named(driver):
    driver.allocate(GRANULE)
    with pytest.raises(DeviceError, match="1 blocks"):
        driver.close()
    with pytest.raises(DeviceError, match="closed"):
        driver.free_bytes()


def test_a_flush_writes_twice_the_cache_and_gives_it_back(driver):
    with contextlib.closing(CacheFlush(driver)) as flush:
        assert driver.free_bytes() == 58 * GRANULE
        flush.flush()
        assert driver.calls[-3:] == ["forget_persisting_lines", "fill", "synchronize"]
    assert driver.free_bytes() == 64 * GRANULE
