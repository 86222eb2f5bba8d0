"""`rmsnorm`, forward and backward, against torch's and torch.compile's.

Takes: a bench. Gives: `cases`; a rival's backward pass is autograd's alone, from a graph that is
kept. Goal of each: a share of the copy's bandwidth. Does not cover: both passes in one.
"""

import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks.kernels._case import COPY, Bench, Case, Cases, Contender, Goal, dtype_name
from benchmarks.kernels._command import main
from benchmarks.kernels._gradients import backward_of

Size = tuple[int, int, bool]
FULL = (
    (65536, 1024, False),
    (16384, 4096, False),
    (16384, 8192, False),
    (16384, 4096, True),
    (16384, 8192, True),
)
TINY = ((8, 100, False), (8, 100, True))
GOAL = Goal(against=COPY, at_least=0.85)
EPS = 1e-6


def cases(bench: Bench) -> Cases:
    """Return the cases."""
    return bench.each(make, FULL, tiny=TINY)


def make(bench: Bench, size: Size) -> Case:
    """Return the case of rows × columns, of one pass."""
    rows, columns, backward = size
    op = bench.load("rmsnorm")
    x, w, dy = bench.draw(rows, columns), bench.draw(columns), bench.draw(rows, columns)
    _, rstd = op.rmsnorm(x, w, eps=EPS)

    def norm(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (columns,), w, EPS)

    compiled: Callable[..., torch.Tensor] = bench.compile(norm)
    if backward:
        ours = bench.ours(lambda: op.rmsnorm_backward(dy, x, w, rstd)[0])
        rivals = (
            Contender(name="torch", call=backward_of(norm, (x, w), dy)),
            Contender(name="torch.compile", call=backward_of(compiled, (x, w), dy)),
        )
    else:
        ours = bench.ours(lambda: op.rmsnorm(x, w, eps=EPS)[0])
        rivals = (
            Contender(name="torch", call=lambda: norm(x, w)),
            Contender(name="torch.compile", call=lambda: compiled(x, w)),
        )
    sizes = {"rows": rows, "columns": columns, "backward": backward}
    return Case(
        shape=f"{rows} × {columns} {dtype_name(x.dtype)}{' backward' * backward}",
        bytes_moved=op.bytes_moved(**sizes, element_bytes=x.element_size()),
        flops=op.flops(**sizes),
        contenders=(ours, *rivals),
        goals=(GOAL,),
    )


if __name__ == "__main__":
    sys.exit(main(__file__, cases))
