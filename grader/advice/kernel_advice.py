"""What a student is told about each kernel of a submission, and how occupancy is computed.

All of it is a claim (`Evidence.ADVICE`): it comes from the sandboxed process, and the submission
could have written it. No verdict, no status and no point depends on it.
"""

from dataclasses import dataclass
from enum import StrEnum

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


class KernelOutcome(StrEnum):
    """The result of compiling one kernel for one target.

    COMPILES: the compiler and the assembler accepted it.
    FAILS: the compiler or the assembler refused it.
    NOT_REACHED: no public case launched it, so its argument types are unknown.
    """

    COMPILES = "compiles"
    FAILS = "fails"
    NOT_REACHED = "not_reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelResources:
    """The resources that a compiled kernel uses on its target.

    Attributes:
        registers: per thread.
        spill_bytes: local memory per thread, where registers are spilled to.
        shared_bytes: shared memory per block.
        warps: per block; 0 if unknown, as in C++, where each launch chooses them.
        occupancy: warps that fit on a multiprocessor, as a part of the most it can hold; computed
            from the other fields. 0 if one block does not fit, or if warps are unknown.
    """

    registers: int
    spill_bytes: int
    shared_bytes: int
    warps: int
    occupancy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelAdvice:
    """One kernel, compiled for one target with one set of argument types.

    Attributes:
        location: of its definition, "cell 3, line 2" or "kernels.py, line 41"; may be empty.
        target: such as `sm_80`; empty for a kernel that no case reached.
        arguments: types and constants that it was compiled for; may be empty.
        message: of the compiler, for a kernel that fails; empty otherwise.
        message_location: location of the error, in the form of `location`; may be empty.
        resources: one entry if they are known, else none.
    """

    kernel: str
    location: str
    target: str
    outcome: KernelOutcome
    arguments: str
    message: str
    message_location: str
    resources: tuple[KernelResources, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What a student is told about all kernels of one submission.

    Attributes:
        kernels: in the order in which the cases launched them; those not reached come last.
        notice: for the student, why advice is missing; empty if none is.
        detail: for staff, the error that stopped it; empty if there was none.
    """

    kernels: tuple[KernelAdvice, ...]
    notice: str
    detail: str


NO_ADVICE = Advice(kernels=(), notice="", detail="")
"""For a submission without kernels, and for records from before there was advice."""


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
