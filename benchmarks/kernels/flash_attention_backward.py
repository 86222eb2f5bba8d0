"""`flash_attention_backward` against the backward passes of torch's SDPA, flash and cuDNN.

Takes: a bench. Gives: `cases`. Goal at causal 16k, D = 128: nine tenths of SDPA flash's speed. Does
not cover: fp32; the forward pass.
"""

import sys

from benchmarks.kernels._attention import CUDNN, FLASH, attention
from benchmarks.kernels._case import Bench, Case, Cases, Contender, Goal, dtype_name
from benchmarks.kernels._command import main
from benchmarks.kernels._gradients import backward_of

Size = tuple[int, int, int, int, int, bool]
FULL = (
    (1, 16, 16, 16384, 128, True),
    (4, 16, 16, 4096, 128, True),
    (4, 32, 8, 4096, 128, True),
    (4, 16, 16, 4096, 64, True),
)
"""B, H, G, T = S, D, causal."""
TINY = ((1, 2, 1, 40, 16, True),)
GOAL_TOKENS = 16384
GOAL = Goal(against=FLASH, at_least=0.9)


def cases(bench: Bench) -> Cases:
    """Return the cases."""
    return bench.each(make, FULL, tiny=TINY)


def make(bench: Bench, size: Size) -> Case:
    """Return the case of one batch of sequences."""
    B, H, G, T, D, causal = size
    op = bench.load("flash_attention_backward")
    q, do = (bench.draw(B, H, T, D) for _ in range(2))
    k, v = (bench.draw(B, G, T, D) for _ in range(2))
    results = bench.load("flash_attention").flash_attention(q, k, v, causal=causal)
    sizes = {"B": B, "H": H, "T": T, "S": T, "D": D}
    rivals = (
        Contender(name=name, call=backward_of(attention(name, causal=causal), (q, k, v), do))
        for name in (FLASH, CUDNN)
    )
    return Case(
        shape=f"{B} × {H}/{G} × {T} × {D} {dtype_name(q.dtype)}{' causal' * causal}",
        bytes_moved=op.bytes_moved(**sizes, G=G, element_bytes=q.element_size()),
        flops=op.flops(**sizes, causal=causal),
        contenders=(
            bench.ours(
                lambda: op.flash_attention_backward(do, (q, k, v), results, causal=causal)[0]
            ),
            *rivals,
        ),
        goals=(GOAL,) if T == GOAL_TOKENS else (),
    )


if __name__ == "__main__":
    sys.exit(main(__file__, cases))
