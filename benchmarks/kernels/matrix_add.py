"""`matrix_add` against torch's addition and torch.compile's.

Takes: a bench. Gives: `cases`: dense matrices, and one whose second argument is transposed. Does
not cover: goals; the project has none for it.
"""

import sys

import torch

from benchmarks.kernels._case import Bench, Case, Cases, Contender, dtype_name
from benchmarks.kernels._command import main

Size = tuple[int, torch.dtype, bool]
FULL = (
    (16384, torch.float32, False),
    (16384, torch.bfloat16, False),
    (16384, torch.bfloat16, True),
)
TINY = ((40, torch.float16, False), (40, torch.float16, True))


def cases(bench: Bench) -> Cases:
    """Return the cases."""
    return bench.each(make, FULL, tiny=TINY)


def add(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x + y


def make(bench: Bench, size: Size) -> Case:
    """Return the case of a square matrix, perhaps plus a transposed one."""
    width, dtype, transposed = size
    op = bench.load("matrix_add")
    x, y = (bench.draw(width, width, dtype=dtype) for _ in range(2))
    if transposed:
        y = y.T
    compiled = bench.compile(add)
    element_bytes = x.element_size()
    return Case(
        shape=f"{width}² {dtype_name(dtype)}{' + transposed' * transposed}",
        bytes_moved=op.bytes_moved(rows=width, columns=width, element_bytes=element_bytes),
        flops=op.flops(rows=width, columns=width),
        contenders=(
            bench.ours(lambda: op.matrix_add(x, y)),
            Contender(name="torch", call=lambda: add(x, y)),
            Contender(name="torch.compile", call=lambda: compiled(x, y)),
        ),
    )


if __name__ == "__main__":
    sys.exit(main(__file__, cases))
