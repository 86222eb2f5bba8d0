"""How many warps of a kernel fit on one multiprocessor: plain arithmetic on published limits.

Takes: registers, shared memory and warps of a block, and a target. Gives: the occupancy. Does not
cover: whether more of it would be faster; often it would not.

Source: CUDA C++ Programming Guide, "Compute Capabilities", technical specifications per compute
capability; allocation granularities as in the CUDA toolkit's `cuda_occupancy.h`.
"""

from dataclasses import dataclass

WARP_THREADS = 32
SM_REGISTERS = 65536
SM_WARPS = 64
SM_BLOCKS = 32
SM_PARTITIONS = 4
"""Each has a quarter of the registers, and a warp's registers lie in one of them."""
REGISTER_GRANULARITY = 256
"""Registers are given to a warp in multiples of this."""
SHARED_GRANULARITY_BYTES = 128
SHARED_RESERVED_BYTES = 1024
"""CUDA keeps this much of the shared memory of every block for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiprocessor:
    """Limits in which the targets differ.

    Attributes:
        shared_bytes: shared memory of a multiprocessor.
        block_shared_bytes: the most of it that one block may have.
    """

    shared_bytes: int
    block_shared_bytes: int


MULTIPROCESSORS = {
    "sm_80": Multiprocessor(shared_bytes=164 << 10, block_shared_bytes=163 << 10),
    "sm_90": Multiprocessor(shared_bytes=228 << 10, block_shared_bytes=227 << 10),
}


def occupancy(target: str, *, registers: int, shared_bytes: int, warps: int) -> float:
    """Return resident warps over the 64 that a multiprocessor can hold.

    With R registers per thread, a warp takes `ceil(32 R, 256)` of them, a partition of 16384
    registers holds `p = floor(16384 / that)` warps, and a multiprocessor `4 p`. With S bytes of
    shared memory, a block takes `ceil(S + 1024, 128)`. The number of blocks is the smallest of
    `4 p / warps`, `64 / warps`, shared memory over what a block takes (all rounded down), and 32.

    Args:
        target: a key of `MULTIPROCESSORS`.
        registers: per thread.
        shared_bytes: per block.
        warps: per block, at least 1.
    """
    limits = MULTIPROCESSORS[target]
    if shared_bytes > limits.block_shared_bytes:
        return 0.0
    warp_registers = _round_up(max(registers, 1) * WARP_THREADS, REGISTER_GRANULARITY)
    resident = SM_PARTITIONS * (SM_REGISTERS // SM_PARTITIONS // warp_registers)
    block_shared = _round_up(shared_bytes + SHARED_RESERVED_BYTES, SHARED_GRANULARITY_BYTES)
    blocks = min(
        SM_BLOCKS, SM_WARPS // warps, resident // warps, limits.shared_bytes // block_shared
    )
    return blocks * warps / SM_WARPS


def _round_up(value: int, granularity: int) -> int:
    return -(-value // granularity) * granularity
