"""`cross_entropy`, loss and gradient, against torch's and torch.compile's two passes.

Takes: a bench. Gives: `cases`: vocabularies of GPT-2 and Llama 3. Goals of each: a share of the
copy's bandwidth; no more memory beyond the logits than a few bytes a row. Does not cover: ignored
rows.

The kernel overwrites its logits, so they are copied anew before each call, off the clock.
"""

import sys

import torch
import torch.nn.functional as F

from benchmarks.kernels._case import COPY, Bench, Case, Cases, Contender, Goal, dtype_name
from benchmarks.kernels._command import main

Size = tuple[int, int]
FULL = ((8192, 50257), (8192, 128256))
TINY = ((4, 300),)
GOAL = Goal(against=COPY, at_least=0.85)
ROW_BYTES, BLOCK_BYTES = 16, 4096
"""Memory beyond the logits: by the row, and for the allocator's rounding of each tensor."""


def cases(bench: Bench) -> Cases:
    """Return the cases."""
    return bench.each(make, FULL, tiny=TINY)


def lose(x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(x.float(), target)


def make(bench: Bench, size: Size) -> Case:
    """Return the case of rows × columns in half precision."""
    rows, columns = size
    op = bench.load("cross_entropy")
    logits = bench.draw(rows, columns)
    target = torch.randint(columns, (rows,), device=logits.device)
    x = logits.clone()
    leaf = logits.clone().requires_grad_()
    compiled = bench.compile(lose)

    def both(loss: torch.Tensor) -> torch.Tensor:
        torch.autograd.grad(loss, leaf)
        return loss

    return Case(
        shape=f"{rows} × {columns} {dtype_name(x.dtype)}",
        bytes_moved=op.bytes_moved(rows=rows, columns=columns, element_bytes=x.element_size()),
        flops=op.flops(rows=rows, columns=columns),
        contenders=(
            bench.ours(lambda: op.cross_entropy(x, target)[0], lambda: x.copy_(logits)),
            Contender(name="torch", call=lambda: both(lose(leaf, target))),
            Contender(name="torch.compile", call=lambda: both(compiled(leaf, target))),
        ),
        goals=(GOAL,),
        memory_limits=(ROW_BYTES * rows + BLOCK_BYTES,),
    )


if __name__ == "__main__":
    sys.exit(main(__file__, cases))
