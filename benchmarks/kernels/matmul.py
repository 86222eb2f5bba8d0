"""`matmul` against cuBLAS (torch.mm), and with its epilogue against torch and torch.compile.

Takes: a bench. Gives: `cases`: square products, one with bias and GELU as in a transformer's MLP.
Goal at 8192³: a share of cuBLAS's rate. Does not cover: fp32, where cuBLAS rounds to TF32 or not by
a setting of torch's.
"""

import sys

import torch
import torch.nn.functional as F

from benchmarks.kernels._case import Bench, Case, Cases, Contender, Goal, dtype_name
from benchmarks.kernels._command import main

CUBLAS = "cuBLAS"
Size = tuple[int, int, int, bool]
FULL = (
    (2048, 2048, 2048, False),
    (4096, 4096, 4096, False),
    (8192, 8192, 8192, False),
    (8192, 14336, 4096, True),
)
TINY = ((64, 40, 50, False), (64, 40, 50, True))
GOAL_WIDTH = 8192
GOAL = Goal(against=CUBLAS, at_least=0.9)


def cases(bench: Bench) -> Cases:
    """Return the cases."""
    return bench.each(make, FULL, tiny=TINY)


def project(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.gelu(torch.addmm(bias, a, b))


def make(bench: Bench, size: Size) -> Case:
    """Return the case of M × N × K, perhaps with bias and GELU."""
    M, N, K, epilogue = size
    op = bench.load("matmul")
    a, b, bias = bench.draw(M, K), bench.draw(K, N), bench.draw(N)
    if epilogue:
        compiled = bench.compile(project)
        ours = bench.ours(lambda: op.matmul(a, b, bias, activation="gelu"))
        rivals: tuple[Contender, ...] = (
            Contender(name="torch", call=lambda: project(a, b, bias)),
            Contender(name="torch.compile", call=lambda: compiled(a, b, bias)),
        )
    else:
        ours = bench.ours(lambda: op.matmul(a, b))
        rivals = (Contender(name=CUBLAS, call=lambda: torch.mm(a, b)),)
    sizes = {"M": M, "N": N, "K": K}
    return Case(
        shape=f"{M} × {N} × {K} {dtype_name(a.dtype)}{' + bias, GELU' * epilogue}",
        bytes_moved=op.bytes_moved(**sizes, element_bytes=a.element_size(), bias=epilogue),
        flops=op.flops(**sizes),
        contenders=(ours, *rivals),
        goals=(GOAL,) if min(M, N, K) == GOAL_WIDTH else (),
    )


if __name__ == "__main__":
    sys.exit(main(__file__, cases))
