"""How a kernel is launched on an architecture: block sizes, warps, pipeline stages.

Takes: a kernel's committed configurations, by compute capability times ten (75: T4, 80: A100,
90: H100 and H200). Gives: the one to launch with. Does not cover: tuning, here or at import (a
configuration is changed by measuring it and committing the number); architectures after 90, which
get the configuration of 90.
"""

from collections.abc import Mapping

import triton

Launch = Mapping[str, int]
"""Keyword arguments of a launch: `BLOCK_…` constants of the kernel, `num_warps`, `num_stages`."""

INTERPRETED: bool = triton.knobs.runtime.interpret
"""Whether this process interprets its kernels; settled when they are imported."""

WARP_THREADS = 32
MAX_WARPS = 16


def architecture() -> int:
    """Return the compute capability, times ten, that the next launch is for.

    The interpreter has none; it gets the smallest blocks, so that small tests have tile borders.
    """
    if INTERPRETED:
        return 75
    return int(triton.runtime.driver.active.get_current_target().arch)


def choose(launches: Mapping[int, Launch]) -> Launch:
    """Return the configuration of the newest architecture that is not newer than the device."""
    here = max(architecture(), min(launches))
    return launches[max(capability for capability in launches if capability <= here)]


def row_launch(columns: int, *, largest: int, per_thread: int = 16) -> Launch:
    """Return a block for one row: a power of two up to `largest`, and the warps to hold it.

    Args:
        columns: of the row.
        largest: block; a longer row needs a loop in the kernel.
        per_thread: elements that a thread should hold, as long as there are warps enough.
    """
    block = min(largest, max(16, triton.next_power_of_2(columns)))
    warps = min(MAX_WARPS, max(1, block // (WARP_THREADS * per_thread)))
    return {"BLOCK_N": block, "num_warps": warps}
