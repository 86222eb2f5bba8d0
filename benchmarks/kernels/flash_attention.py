"""`flash_attention` against torch's SDPA, with its flash and with its cuDNN backend.

Takes: a bench. Gives: `cases`: causal and full, wide and narrow heads, grouped queries. Goal at
causal 16k, D = 128: as fast as SDPA flash. Does not cover: fp32.
"""

import sys

from benchmarks.kernels._attention import CUDNN, FLASH, attention
from benchmarks.kernels._case import Bench, Case, Cases, Contender, Goal, dtype_name
from benchmarks.kernels._command import main

Size = tuple[int, int, int, int, int, bool]
FULL = (
    (1, 16, 16, 16384, 128, True),
    (4, 16, 16, 4096, 128, True),
    (4, 16, 16, 4096, 128, False),
    (4, 32, 8, 4096, 128, True),
    (4, 16, 16, 4096, 64, True),
)
"""B, H, G, T = S, D, causal."""
TINY = ((1, 2, 2, 40, 16, True), (1, 2, 1, 40, 16, True))
GOAL_TOKENS = 16384
GOAL = Goal(against=FLASH, at_least=1.0)


def cases(bench: Bench) -> Cases:
    """Return the cases."""
    return bench.each(make, FULL, tiny=TINY)


def make(bench: Bench, size: Size) -> Case:
    """Return the case of one batch of sequences."""
    B, H, G, T, D, causal = size
    op = bench.load("flash_attention")
    q = bench.draw(B, H, T, D)
    k, v = (bench.draw(B, G, T, D) for _ in range(2))
    flash, cudnn = (attention(name, causal=causal) for name in (FLASH, CUDNN))
    sizes = {"B": B, "H": H, "T": T, "S": T, "D": D}
    return Case(
        shape=f"{B} × {H}/{G} × {T} × {D} {dtype_name(q.dtype)}{' causal' * causal}",
        bytes_moved=op.bytes_moved(**sizes, G=G, element_bytes=q.element_size()),
        flops=op.flops(**sizes, causal=causal),
        contenders=(
            bench.ours(lambda: op.flash_attention(q, k, v, causal=causal)[0]),
            Contender(name=FLASH, call=lambda: flash(q, k, v)),
            Contender(name=CUDNN, call=lambda: cudnn(q, k, v)),
        ),
        goals=(GOAL,) if T == GOAL_TOKENS else (),
    )


if __name__ == "__main__":
    sys.exit(main(__file__, cases))
