"""No more than the limit stays free, and everything is freed in the end."""

import contextlib

import pytest

from grader.errors import DeviceError
from tests.unit.worker.cuda.fake_driver import GRANULE_BYTES as GRANULE
from tests.unit.worker.cuda.fake_driver import FakeDriver, reserve_memory

TOTAL = 1000 * GRANULE


@pytest.mark.parametrize("limit", [0, 1, GRANULE, 7 * GRANULE + 5, TOTAL - 1, TOTAL])
def test_the_limit_stays_free_and_no_granule_more(limit):
    driver = FakeDriver(total_bytes=TOTAL)
    with reserve_memory(driver, limit) as free:
        assert limit <= free < limit + GRANULE
        assert free == driver.free_bytes()
        with pytest.raises(DeviceError):
            driver.allocate(free // GRANULE * GRANULE + GRANULE)
    assert driver.free_bytes() == TOTAL


def test_memory_of_others_counts():
    driver = FakeDriver(total_bytes=TOTAL)
    driver.hold(100 * GRANULE)
    with reserve_memory(driver, 50 * GRANULE) as free:
        assert free == 50 * GRANULE
    assert driver.free_bytes() == 900 * GRANULE


@pytest.mark.parametrize("overhead", [1, GRANULE // 2, GRANULE, 3 * GRANULE])
def test_blocks_that_cost_more_than_their_size(overhead):
    driver = FakeDriver(total_bytes=TOTAL, overhead_bytes=overhead)
    with reserve_memory(driver, 100 * GRANULE) as free:
        assert 100 * GRANULE <= free <= 100 * GRANULE + 2 * (GRANULE + overhead)
    assert driver.free_bytes() == TOTAL


class Fragmented(FakeDriver):
    """A device on which no large piece is free."""

    def allocate(self, size_bytes):
        if size_bytes > 130 * GRANULE:
            raise DeviceError("too large", call="cuMemCreate", code=2)
        return super().allocate(size_bytes)


def test_memory_in_pieces_is_reserved_in_pieces():
    driver = Fragmented(total_bytes=TOTAL)
    with reserve_memory(driver, 3 * GRANULE) as free:
        assert free == 3 * GRANULE
    assert driver.free_bytes() == TOTAL


def test_too_little_free_memory_is_an_error():
    driver = FakeDriver(total_bytes=TOTAL)
    driver.hold(TOTAL - GRANULE)
    with pytest.raises(DeviceError, match="are needed"), reserve_memory(driver, 2 * GRANULE):
        pass


@pytest.mark.parametrize("code", [1, 999])
def test_an_error_frees_everything(code):
    driver = FakeDriver(total_bytes=TOTAL)
    with pytest.raises(ZeroDivisionError), reserve_memory(driver, 0):
        raise ZeroDivisionError
    assert driver.free_bytes() == TOTAL
    driver.failing["allocate"] = code
    with pytest.raises(DeviceError), reserve_memory(driver, 0):
        pass
    driver.failing.clear()
    assert driver.free_bytes() == TOTAL


def test_one_block_that_cannot_be_freed_keeps_no_other():
    driver = Fragmented(total_bytes=TOTAL)
    with contextlib.suppress(DeviceError), reserve_memory(driver, 0):
        driver.failing["free"] = 1
    assert driver.calls.count("free") >= 8
