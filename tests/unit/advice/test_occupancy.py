"""Values worked out by hand from the published limits."""

import pytest

from grader.advice.kernel_advice import MULTIPROCESSORS, occupancy


@pytest.mark.parametrize(
    ("target", "registers", "shared_bytes", "warps", "expected"),
    [
        # 32 registers: 1024 per warp, 64 warps of them; 16 blocks of 4 warps.
        ("sm_80", 32, 0, 4, 1.0),
        # 33 registers: 1056, rounded up to 1280 per warp; 12 warps in each of 4 partitions.
        ("sm_80", 33, 0, 4, 48 / 64),
        # 255 registers: 8160, rounded up to 8192; 2 warps per partition, one block of 8.
        ("sm_80", 255, 0, 8, 8 / 64),
        # 168 registers: 5376 per warp; 3 per partition, 12 in all: one block of 8.
        ("sm_80", 168, 0, 8, 8 / 64),
        # One warp per block: 32 blocks at most.
        ("sm_80", 16, 0, 1, 32 / 64),
        # 48 KiB and the 1 KiB that CUDA keeps: 3 blocks in 164 KiB, 4 in 228 KiB.
        ("sm_80", 32, 48 << 10, 4, 12 / 64),
        ("sm_90", 32, 48 << 10, 4, 16 / 64),
        # The most that one block may have, and one byte more.
        ("sm_80", 32, 163 << 10, 4, 4 / 64),
        ("sm_80", 32, (163 << 10) + 1, 4, 0.0),
        ("sm_90", 32, 227 << 10, 8, 8 / 64),
        ("sm_90", 32, (227 << 10) + 1, 8, 0.0),
        # 32 warps of 255 registers each: 8 fit, so no block does.
        ("sm_90", 255, 0, 32, 0.0),
        ("sm_90", 0, 0, 32, 1.0),
    ],
)
def test_known_values(
    target: str, registers: int, shared_bytes: int, warps: int, expected: float
) -> None:
    got = occupancy(target, registers=registers, shared_bytes=shared_bytes, warps=warps)
    assert got == expected


@pytest.mark.parametrize("target", MULTIPROCESSORS)
@pytest.mark.parametrize("warps", [1, 2, 4, 8, 16, 32])
def test_more_of_anything_never_fits_better(target: str, warps: int) -> None:
    by_registers = [
        occupancy(target, registers=n, shared_bytes=0, warps=warps) for n in range(1, 256)
    ]
    by_shared = [
        occupancy(target, registers=32, shared_bytes=n << 10, warps=warps) for n in range(240)
    ]
    for values in (by_registers, by_shared):
        assert values == sorted(values, reverse=True)
        assert all(0 <= value <= 1 for value in values)
