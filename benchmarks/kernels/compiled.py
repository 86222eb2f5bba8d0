"""Compiles every kernel for architectures that need not be there, as its wrapper would launch it.

    python -m benchmarks.kernels.compiled [--json FILE]

Takes: the wrappers of `kernels/`, called with arguments of a usual size. Gives: a table, and JSON,
of registers, spills and shared memory for sm_75, sm_80 and sm_90. Does not cover: speed; nothing
runs, so outputs are what memory held.

A launch goes through Triton's own `JITFunction.run`, told to compile only, with a driver that names
a target and has no device. So the types, divisibility, constants, warps and stages are those that
the wrapper chooses on that architecture.

Exit code 0: everything compiled, and nothing spilled but what `_cases.SPILLS` lists; else 1.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from benchmarks.kernels._cases import CASES, SPILLS
from benchmarks.kernels._load import load_kernels

TARGETS = (75, 80, 90)
SHARED_LIMIT = {75: 64 * 1024, 80: 163 * 1024, 90: 227 * 1024}
"""Shared memory of one block, bytes. Source: CUDA C++ Programming Guide, compute capabilities."""
RESULTS = Path(__file__).resolve().parents[1] / "results" / "kernels_compiled.json"
MOST_WORKERS = 8
"""Each imports torch and Triton, which takes longer than a few kernels do."""

Row = dict[str, str | int]


class AbsentDevice:
    """Stands in Triton for the driver of a device."""

    def __init__(self, capability: int) -> None:
        self._capability = capability

    def get_current_device(self) -> int:
        """Return a number of the target's own, under which Triton keeps what it compiled."""
        return self._capability

    def get_current_stream(self, _device: int = 0) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._capability, 32)

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


def read_resources(compiled: Any) -> tuple[int, int]:
    """Return registers per thread, and bytes per thread that spilled to local memory.

    Source: `cuobjdump --dump-resource-usage` (CUDA binary utilities), REG and STACK; Triton puts
    nothing but spilled registers on the stack.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        said = subprocess.run(
            [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
    usage = re.search(r"REG:(\d+) STACK:(\d+) ", said)
    if usage is None:
        raise RuntimeError("cuobjdump names no registers")
    return int(usage[1]), int(usage[2])


def compile_case(case: str, call: Callable[[], object], capability: int) -> list[Row]:
    """Return a row for each kernel that a call of a wrapper launches."""
    rows: list[Row] = []
    run = JITFunction.run

    def compile_only(kernel: JITFunction, *args: Any, **kwargs: Any) -> None:
        compiled = run(kernel, *args, **{**kwargs, "warmup": True})
        registers, spilled = read_resources(compiled)
        row: Row = {"case": case, "kernel": kernel.__name__, "sm": capability}
        row |= {"registers": registers, "spill_bytes": spilled}
        row |= {"shared_bytes": compiled.metadata.shared, "warps": compiled.metadata.num_warps}
        row |= {"stages": compiled.metadata.num_stages}
        rows.append(row)

    driver.set_active(AbsentDevice(capability))
    JITFunction.run = compile_only
    try:
        call()
    finally:
        JITFunction.run = run
    return rows


def compile_targets(name: str) -> list[Row]:
    """Return the rows of a case for all targets; a kernel that does not compile raises."""
    stem, make = CASES[name]
    module = load_kernels(stem)
    rows: list[Row] = []
    for capability in TARGETS:
        if capability == 75 and "bf16" in name:
            continue  # the tensor cores of sm_75 have no bfloat16
        rows += compile_case(name, lambda: make(module), capability)
    return rows


def compile_all() -> list[Row]:
    """Return the rows of all cases, in order, compiled in as many processes as there are cores.

    New processes, not forks: LLVM and torch have threads.
    """
    rows: list[Row] = []
    workers = min(MOST_WORKERS, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for found in pool.map(compile_targets, CASES):
            for row in found:
                print(" ".join(f"{value!s:>12}" for value in row.values()), flush=True)
            rows += found
    return rows


def find_faults(rows: list[Row]) -> list[str]:
    """Return what must not be: spills that no exception lists, too much shared memory."""
    faults = []
    for row in rows:
        place = (str(row["case"]), str(row["kernel"]), int(row["sm"]))
        allowed, _ = SPILLS.get(place, (0, ""))
        if int(row["spill_bytes"]) > allowed:
            faults.append(f"{place}: {row['spill_bytes']} bytes spilled")
        if int(row["shared_bytes"]) > SHARED_LIMIT[int(row["sm"])]:
            faults.append(f"{place}: {row['shared_bytes']} bytes of shared memory")
    return faults


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compile every kernel for sm_75, sm_80, sm_90.")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the table goes")
    path: Path = parser.parse_args(arguments).json
    rows = compile_all()
    versions = {"torch": torch.__version__, "triton": triton.__version__}
    lines = ",\n".join("    " + json.dumps(row) for row in rows)
    path.write_text(f'{{\n  "versions": {json.dumps(versions)},\n  "rows": [\n{lines}\n  ]\n}}\n')
    faults = find_faults(rows)
    print("\n".join(faults) or f"{len(rows)} kernels compiled, no spill but those listed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
