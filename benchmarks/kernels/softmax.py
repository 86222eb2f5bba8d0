"""`softmax` against torch's and torch.compile's, over the last dimension.

Takes: a bench. Gives: `cases`: rows that stay in registers, and one that is read twice. Goal of
each: a share of the copy's bandwidth. Does not cover: gradients.
"""

import sys

import torch

from benchmarks.kernels._case import COPY, Bench, Case, Cases, Contender, Goal, dtype_name
from benchmarks.kernels._command import main

Size = tuple[int, int]
FULL = ((131072, 1024), (32768, 4096), (8192, 16384), (2048, 131072))
TINY = ((8, 100), (3, 5000))
GOAL = Goal(against=COPY, at_least=0.85)


def cases(bench: Bench) -> Cases:
    """Return the cases."""
    return bench.each(make, FULL, tiny=TINY)


def softmax(x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x, 1)


def make(bench: Bench, size: Size) -> Case:
    """Return the case of rows × columns in half precision."""
    rows, columns = size
    op = bench.load("softmax")
    x = bench.draw(rows, columns)
    compiled = bench.compile(softmax)
    return Case(
        shape=f"{rows} × {columns} {dtype_name(x.dtype)}",
        bytes_moved=op.bytes_moved(rows=rows, columns=columns, element_bytes=x.element_size()),
        flops=op.flops(rows=rows, columns=columns),
        contenders=(
            bench.ours(lambda: op.softmax(x)),
            Contender(name="torch", call=lambda: softmax(x)),
            Contender(name="torch.compile", call=lambda: compiled(x)),
        ),
        goals=(GOAL,),
    )


if __name__ == "__main__":
    sys.exit(main(__file__, cases))
