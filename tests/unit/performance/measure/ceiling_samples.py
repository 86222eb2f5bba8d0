"""Ceilings of a device that does not exist, with round numbers."""

from grader.evidence.device import Ceilings, MatmulRate, MemoryRate, Setting

SETTING = Setting(
    device_class="cuda:h200",
    hardware="NVIDIA H200, 143000 MiB, 132 SM",
    driver="580",
    torch="2.11.0",
    triton="3.6.0",
    method="1",
)
CEILINGS = Ceilings(
    setting=SETTING,
    measured="2026-11-21T00:00:00+00:00",
    memory=(
        MemoryRate(way="copy", bytes_per_s=4e12, size_bytes=1 << 30),
        MemoryRate(way="read", bytes_per_s=5e12, size_bytes=1 << 30),
    ),
    matmul=(
        MatmulRate(dtype="float32", flops_per_s=5e13, size=4096),
        MatmulRate(dtype="bfloat16", flops_per_s=8e14, size=8192),
    ),
)
