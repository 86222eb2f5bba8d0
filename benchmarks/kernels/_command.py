"""The command of one benchmark file: `python -m benchmarks.kernels.softmax`.

Takes: the file's cases, arguments. Gives: the table on the terminal, and JSON with hardware,
driver, versions and date. Does not cover: several operations (`__main__`).

Without a CUDA device it refuses; `--smoke` tries the file on the processor, at tiny sizes, and says
that its times mean nothing.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.gpu.machine import describe_machine
from benchmarks.kernels._case import Bench, Cases
from benchmarks.kernels._device import CudaDevice, Device, Interpreter
from benchmarks.kernels._operation import run_operation
from benchmarks.kernels._result import Result, to_json
from benchmarks.kernels._table import as_text

BUDGET_S = 6.0


def main(file: str, cases: Callable[[Bench], Cases]) -> int:
    """Run one benchmark file; 0: it ran, 1: something is broken, 2: there is no device."""
    parser = argparse.ArgumentParser(description=f"Time {Path(file).stem} against its rivals.")
    add_options(parser)
    parser.add_argument("--json", type=Path, help="where the result goes")
    options = parser.parse_args()
    device = find_device(smoke=options.smoke)
    if device is None:
        return 2
    result = run_operation(Path(file).stem, cases, device, budget_s=options.budget_s)
    print(as_text(result))
    if options.json:
        write_json(options.json, result)
    return 1 if result.broken else 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what both commands take."""
    parser.add_argument("--budget-s", type=float, default=BUDGET_S, help="timing per operation")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, on the processor")


def find_device(*, smoke: bool) -> Device | None:
    """Return the device; None, with a word on stderr, if there is none."""
    if smoke:
        return Interpreter()
    if torch.cuda.is_available():
        return CudaDevice()
    print("no CUDA device; --smoke tries the benchmark without one", file=sys.stderr)
    return None


def write_json(path: Path, result: Result) -> None:
    """Write a result and the machine that it was found on."""
    found = {"machine": describe_machine(), "result": to_json(result)}
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
