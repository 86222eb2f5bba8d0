"""`kv_write` against torch's scatter of rows.

Takes: a bench. Gives: `cases`: a large prefill, and the tokens of a decode step. Does not cover:
goals; padding. No operation is counted: it has no place in a roofline.
"""

import sys

import torch

from benchmarks.kernels._case import Bench, Case, Cases, Contender, dtype_name
from benchmarks.kernels._command import main

Size = tuple[int, int]
FULL = ((65536, 16), (65536, 256), (256, 16))
"""Tokens, page size; the cache holds them twice."""
TINY = ((5, 4),)
HEADS, WIDTH = 8, 128


def cases(bench: Bench) -> Cases:
    """Return the cases."""
    return bench.each(make, FULL, tiny=TINY)


def make(bench: Bench, size: Size) -> Case:
    """Return the case of tokens that go to random slots."""
    tokens, page_size = size
    op = bench.load("kv_write")
    k, v = (bench.draw(tokens, HEADS, WIDTH) for _ in range(2))
    pages = 2 * -(-tokens // page_size)
    shape = (pages, page_size, HEADS, WIDTH)
    slots = torch.randperm(pages * page_size, device=k.device)[:tokens]
    ours = tuple(torch.zeros(shape, dtype=k.dtype, device=k.device) for _ in range(2))
    theirs = tuple(torch.zeros_like(cache) for cache in ours)

    def write() -> torch.Tensor:
        op.kv_write(k, v, slots, ours)
        return ours[0]

    def scatter() -> torch.Tensor:
        for cache, rows in zip(theirs, (k, v), strict=True):
            cache.flatten(0, 1).index_copy_(0, slots, rows)
        return theirs[0]

    return Case(
        shape=f"{tokens} tokens, pages of {page_size}, {dtype_name(k.dtype)}",
        bytes_moved=op.bytes_moved(
            tokens=tokens, heads=HEADS, width=WIDTH, element_bytes=k.element_size()
        ),
        flops=op.flops(tokens=tokens),
        contenders=(bench.ours(write), Contender(name="torch index_copy_", call=scatter)),
    )


if __name__ == "__main__":
    sys.exit(main(__file__, cases))
