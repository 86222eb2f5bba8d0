"""`paged_decode` against torch's SDPA over the same cache, dense.

Takes: a bench. Gives: `cases`: batch 64 at context 4k, in pages of 1 to 256 tokens. Goal of each: a
share of the copy's bandwidth. Does not cover: ragged lengths; small batches (`split_kv_decode`).
"""

import sys

from benchmarks.kernels._attention import CUDNN, FLASH, attention
from benchmarks.kernels._case import COPY, Bench, Case, Cases, Contender, Goal, dtype_name
from benchmarks.kernels._command import main
from benchmarks.kernels._pages import HEADS, TINY_HEADS, Heads, draw_pages

Size = tuple[int, int, int, Heads]
FULL = tuple((*size, HEADS) for size in ((64, 4096, 16), (64, 4096, 1), (64, 4096, 256)))
"""B, tokens of each, page size, heads."""
TINY = ((2, 20, 16, TINY_HEADS),)
GOAL = Goal(against=COPY, at_least=0.85)


def cases(bench: Bench) -> Cases:
    """Return the cases."""
    return bench.each(make, FULL, tiny=TINY)


def make(bench: Bench, size: Size) -> Case:
    """Return the case of one decode step."""
    B, S, page_size, (H, G, D) = size
    op = bench.load("paged_decode")
    q = bench.draw(B, H, D)
    pages = draw_pages(bench, B=B, S=S, G=G, D=D, N=page_size)
    k, v = pages.dense()
    flash, cudnn = attention(FLASH), attention(CUDNN)
    return Case(
        shape=f"batch {B}, {S} tokens, pages of {page_size}, {dtype_name(q.dtype)}",
        bytes_moved=op.bytes_moved(
            tokens=B * S, B=B, H=H, G=G, D=D, element_bytes=q.element_size()
        ),
        flops=op.flops(tokens=B * S, H=H, D=D),
        contenders=(
            bench.ours(lambda: op.paged_decode(q, *pages.arguments)[0]),
            Contender(name=f"{FLASH}, dense", call=lambda: flash(q[:, :, None], k, v)[:, :, 0]),
            Contender(name=f"{CUDNN}, dense", call=lambda: cudnn(q[:, :, None], k, v)[:, :, 0]),
        ),
        goals=(GOAL,),
    )


if __name__ == "__main__":
    sys.exit(main(__file__, cases))
