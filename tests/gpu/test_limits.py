"""What the judge controls of a device: memory, cache, lease, ceilings."""

import contextlib
import os
import time

import pytest
import torch
import triton
import triton.language as tl

from grader.errors import DeviceError
from grader.performance.decide.plausibility import beats_floor, floor_ns
from grader.performance.measure.ceilings import find_setting, measure_ceilings
from grader.worker.cuda.reserved_memory import CacheFlush
from grader.worker.lease import hold_lease
from tests.gpu.run_worker import run_worker
from tests.unit.worker.cuda.fake_driver import reserve_memory

pytestmark = pytest.mark.gpu

LIMIT_BYTES = 4 << 30


def test_no_more_than_the_limit_can_be_allocated(driver):
    with reserve_memory(driver, LIMIT_BYTES) as free:
        assert LIMIT_BYTES <= free <= LIMIT_BYTES + 8 * driver.facts.granularity_bytes
        assert run_worker("allocate", LIMIT_BYTES // 4) == "fits"
        assert run_worker("allocate", LIMIT_BYTES + (1 << 28)) == "out of memory"
    assert run_worker("allocate", LIMIT_BYTES + (1 << 28)) == "fits"


def test_an_error_frees_the_reserved_memory(driver):
    before = driver.free_bytes()
    with pytest.raises(ZeroDivisionError), reserve_memory(driver, LIMIT_BYTES):
        raise ZeroDivisionError
    assert driver.free_bytes() >= before - 8 * driver.facts.granularity_bytes


@triton.jit
def _chase_kernel(chain_ptr, out_ptr, steps):
    position = tl.load(out_ptr)
    for _ in range(steps):
        position = tl.load(chain_ptr + position, cache_modifier=".cg")  # past the L1
    tl.store(out_ptr, position)


def chase_ns(chain: torch.Tensor, steps: int) -> float:
    """Return the time per step along a chain of dependent loads."""
    out = torch.zeros(1, dtype=torch.int64, device="cuda")
    begin = torch.cuda.Event(enable_timing=True)
    end = torch.cuda.Event(enable_timing=True)
    begin.record()
    _chase_kernel[(1,)](chain, out, steps, num_warps=1)
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end) * 1e6 / steps)


def test_after_a_flush_nothing_is_in_the_cache(driver):
    lines, stride = 8192, 16  # one step per line of 128 bytes; 1 MiB, in any L2
    order = torch.randperm(lines)
    chain = torch.zeros(lines * stride, dtype=torch.int64)
    chain[order * stride] = order.roll(-1) * stride
    chain = chain.cuda()
    chase_ns(chain, lines)  # compiles
    with contextlib.closing(CacheFlush(driver)) as flush:
        chase_ns(chain, lines)
        warm = min(chase_ns(chain, lines) for _ in range(5))
        cold = []
        for _ in range(5):
            flush.flush()
            cold.append(chase_ns(chain, lines))
    assert min(cold) > 1.3 * warm, (warm, cold)


def test_a_device_has_one_holder(driver, tmp_path):
    with (
        hold_lease(driver.facts.uuid, folder=tmp_path),
        pytest.raises(DeviceError, match=f"process {os.getpid()} has it"),
        hold_lease(driver.facts.uuid, folder=tmp_path, limit_s=0.2),
    ):
        pass


def test_nothing_measured_beats_the_floor():
    begin = time.monotonic()
    ceilings = measure_ceilings(find_setting("cuda"))
    assert time.monotonic() - begin < 120
    again = measure_ceilings(find_setting("cuda"))
    for memory in again.memory:
        moved = memory.size_bytes * (2 if memory.way == "copy" else 1)
        floor = floor_ns(moved, 0, ceilings)
        assert not beats_floor(moved / memory.bytes_per_s * 1e9, floor), memory
    for matmul in again.matmul:
        flops = 2 * matmul.size**3
        floor = floor_ns(0, flops, ceilings, dtype=matmul.dtype)
        assert not beats_floor(flops / matmul.flops_per_s * 1e9, floor), matmul
