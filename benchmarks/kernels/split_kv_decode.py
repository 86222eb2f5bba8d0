"""`split_kv_decode` against `paged_decode`, which does not split, and torch's SDPA, dense.

Takes: a bench. Gives: `cases`: small batches of long sequences. Goal at batch 1, 32k: three times
as fast as unsplit. Does not cover: ragged lengths.
"""

import sys

from benchmarks.kernels._attention import FLASH, attention
from benchmarks.kernels._case import Bench, Case, Cases, Contender, Goal, dtype_name
from benchmarks.kernels._command import main
from benchmarks.kernels._pages import HEADS, TINY_HEADS, Heads, draw_pages

UNSPLIT = "paged_decode"
Size = tuple[int, int, Heads]
FULL = tuple((*size, HEADS) for size in ((1, 32768), (1, 131072), (8, 16384)))
"""B, tokens of each, heads."""
TINY = ((1, 512, TINY_HEADS),)
GOAL_SIZE = (1, 32768)
GOAL = Goal(against=UNSPLIT, at_least=3.0)
PAGE_SIZE = 16


def cases(bench: Bench) -> Cases:
    """Return the cases."""
    return bench.each(make, FULL, tiny=TINY)


def make(bench: Bench, size: Size) -> Case:
    """Return the case of one decode step."""
    B, S, (H, G, D) = size
    op, unsplit = bench.load("split_kv_decode"), bench.load("paged_decode")
    q = bench.draw(B, H, D)
    pages = draw_pages(bench, B=B, S=S, G=G, D=D, N=PAGE_SIZE)
    k, v = pages.dense()
    flash = attention(FLASH)
    sizes = {"tokens": B * S, "B": B, "H": H, "G": G, "D": D}
    parts = op.choose_parts(heads=B * G, tokens=pages.table_BL.shape[1] * PAGE_SIZE)
    return Case(
        shape=f"batch {B}, {S} tokens, {parts} parts, {dtype_name(q.dtype)}",
        bytes_moved=op.bytes_moved(**sizes, C=parts, element_bytes=q.element_size()),
        flops=op.flops(tokens=B * S, H=H, D=D),
        contenders=(
            bench.ours(lambda: op.split_kv_decode(q, *pages.arguments)[0]),
            Contender(name=UNSPLIT, call=lambda: unsplit.paged_decode(q, *pages.arguments)[0]),
            Contender(name=f"{FLASH}, dense", call=lambda: flash(q[:, :, None], k, v)[:, :, 0]),
        ),
        goals=(GOAL,) if (B, S) == GOAL_SIZE else (),
    )


if __name__ == "__main__":
    sys.exit(main(__file__, cases))
