"""The driver does what its seam promises, on a real device."""

import os

import pytest
import torch

from grader.assignment.target import device_class
from grader.errors import DeviceError

pytestmark = pytest.mark.gpu


def test_facts_are_those_that_torch_sees(driver):
    seen = torch.cuda.get_device_properties(0)
    facts = driver.facts
    assert facts.name == seen.name
    assert device_class(facts.name).startswith("cuda:")
    assert facts.cache_bytes == seen.L2_cache_size
    assert facts.uuid.removeprefix("GPU-") == str(seen.uuid).removeprefix("GPU-")
    assert abs(facts.total_bytes - seen.total_memory) < 1 << 30
    assert facts.granularity_bytes % 4096 == 0
    assert 0 < driver.free_bytes() <= facts.total_bytes


def test_bytes_go_there_and_back(driver):
    size = driver.facts.round_up(3 << 20)
    block, other = driver.allocate(size), driver.allocate(size)
    try:
        content = os.urandom(size)
        driver.write(block, content)
        assert driver.read(block, size) == content
        assert driver.read(block, 100, offset=12345) == content[12345:12445]
        driver.copy(block, other)
        assert driver.read(other, size) == content
        driver.fill(block, 0xFF)
        assert set(driver.read(block, size)) == {0xFF}
        assert driver.read(other, size) == content
    finally:
        driver.free(block)
        driver.free(other)


def test_memory_comes_back(driver):
    driver.free(driver.allocate(driver.facts.round_up(1)))  # whatever is kept is kept by now
    before = driver.free_bytes()
    size = driver.facts.round_up(1 << 30)
    block = driver.allocate(size)
    assert driver.free_bytes() <= before - size
    driver.free(block)
    assert driver.free_bytes() >= before - driver.facts.granularity_bytes


@pytest.mark.parametrize(("size", "code"), [("ragged", 1), ("too large", 2)])
def test_a_refusal_names_call_and_code(driver, size, code):
    facts = driver.facts
    size_bytes = {
        "ragged": facts.granularity_bytes + 1,
        "too large": facts.round_up(2 * facts.total_bytes),
    }[size]
    with pytest.raises(DeviceError) as caught:
        driver.allocate(size_bytes)
    assert (caught.value.call, caught.value.code) == ("cuMemCreate", code)


def test_it_tells_its_clocks_and_why_they_are_low(driver):
    state = driver.state()
    assert int(state.reasons) >= 0
    assert 100 < state.sm_clock_mhz < 10_000
    assert 100 < state.memory_clock_mhz < 20_000


def test_nothing_persists_in_the_cache(driver):
    driver.forget_persisting_lines()
