"""`paged_prefill` against torch's SDPA over the same cache, dense.

Takes: a bench. Gives: `cases`: whole prompts, and chunks at the end of longer sequences. Does not
cover: goals; ragged lengths, for which SDPA would need padding.
"""

import sys

import torch

from benchmarks.kernels._attention import CUDNN, FLASH, attention
from benchmarks.kernels._case import Bench, Case, Cases, Contender, dtype_name
from benchmarks.kernels._command import main
from benchmarks.kernels._pages import HEADS, TINY_HEADS, Heads, draw_pages

Size = tuple[int, int, int, Heads]
FULL = tuple((*size, HEADS) for size in ((4, 4096, 4096), (8, 512, 8192), (64, 16, 4096)))
"""B, new tokens of each, tokens of each, heads."""
TINY = ((2, 7, 20, TINY_HEADS),)
PAGE_SIZE = 16


def cases(bench: Bench) -> Cases:
    """Return the cases."""
    return bench.each(make, FULL, tiny=TINY)


def make(bench: Bench, size: Size) -> Case:
    """Return the case of chunks of one length."""
    B, new, S, (H, G, D) = size
    op = bench.load("paged_prefill")
    q = bench.draw(B * new, H, D)
    pages = draw_pages(bench, B=B, S=S, G=G, D=D, N=PAGE_SIZE)
    starts = torch.arange(B + 1, device=q.device) * new
    q_BHTD = q.reshape(B, new, H, D).transpose(1, 2).contiguous()
    k, v = pages.dense()
    flash, cudnn = (attention(name, causal=True) for name in (FLASH, CUDNN))

    def packed(o_BHTD: torch.Tensor) -> torch.Tensor:
        return o_BHTD.transpose(1, 2).flatten(0, 1)

    element_bytes = q.element_size()
    return Case(
        shape=f"{B} × {new} new of {S} tokens, {dtype_name(q.dtype)}",
        bytes_moved=op.bytes_moved(
            tokens=B * S, T=B * new, H=H, G=G, D=D, element_bytes=element_bytes
        ),
        flops=op.flops(chunks=((new, S),) * B, H=H, D=D),
        contenders=(
            bench.ours(lambda: op.paged_prefill(q, (starts, new), *pages.arguments)[0]),
            Contender(name=f"{FLASH}, dense", call=lambda: packed(flash(q_BHTD, k, v))),
            Contender(name=f"{CUDNN}, dense", call=lambda: packed(cudnn(q_BHTD, k, v))),
        ),
    )


if __name__ == "__main__":
    sys.exit(main(__file__, cases))
