"""`layernorm`, forward and backward, against torch's and torch.compile's.

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
EPS = 1e-5


def cases(bench: Bench) -> Cases:
    """Return the cases."""
    return bench.each(make, FULL, tiny=TINY)


def make(bench: Bench, size: Size) -> Case:
    """Return the case of rows × columns, of one pass."""
    rows, columns, backward = size
    op = bench.load("layernorm")
    x, dy = (bench.draw(rows, columns) for _ in range(2))
    w, b = (bench.draw(columns) for _ in range(2))
    _, mean, rstd = op.layernorm(x, w, b, eps=EPS)

    def norm(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (columns,), w, b, EPS)

    compiled: Callable[..., torch.Tensor] = bench.compile(norm)
    kept = {"w_H": w, "mean_M": mean, "rstd_M": rstd}
    if backward:
        ours = bench.ours(lambda: op.layernorm_backward(dy, x, **kept)[0])
        rivals = (
            Contender(name="torch", call=backward_of(norm, (x, w, b), dy)),
            Contender(name="torch.compile", call=backward_of(compiled, (x, w, b), dy)),
        )
    else:
        ours = bench.ours(lambda: op.layernorm(x, w, b, eps=EPS)[0])
        rivals = (
            Contender(name="torch", call=lambda: norm(x, w, b)),
            Contender(name="torch.compile", call=lambda: compiled(x, w, b)),
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
