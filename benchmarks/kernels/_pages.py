"""Paged caches of full sequences, shuffled, and the same keys and values dense.

Takes: a bench, sizes. Gives: `Pages`. Does not cover: ragged lengths.

Shapes: B sequences, S tokens of each, G key heads, D width of a head, P pages, N tokens in a page,
L pages in a row of the table.
"""

from dataclasses import dataclass

import torch

from benchmarks.kernels._case import Bench

Heads = tuple[int, int, int]
"""Query heads, key heads, their width: H, G, D."""
HEADS, TINY_HEADS = (32, 8, 128), (4, 2, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """What a paged kernel reads.

    Attributes:
        caches: keys and values, [P, N, G, D].
        table_BL: page numbers, int32.
        length_B: tokens, int32.
    """

    caches: tuple[torch.Tensor, torch.Tensor]
    table_BL: torch.Tensor
    length_B: torch.Tensor

    @property
    def arguments(self) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor, torch.Tensor]:
        """Caches, table, lengths: in the order of the kernels' arguments."""
        return self.caches, self.table_BL, self.length_B

    def dense(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return contiguous keys and values in torch's layout, [B, G, S, D]."""
        B, S = len(self.length_B), int(self.length_B[0])
        k_BGSD, v_BGSD = (
            cache[self.table_BL.long()]
            .reshape(B, -1, *cache.shape[2:])[:, :S]
            .transpose(1, 2)
            .contiguous()
            for cache in self.caches
        )
        return k_BGSD, v_BGSD


def draw_pages(bench: Bench, *, B: int, S: int, G: int, D: int, N: int) -> Pages:
    """Return B sequences of S tokens in pages of N that lie in random order."""
    L = -(-S // N)
    device = bench.device.kind
    return Pages(
        caches=(bench.draw(B * L, N, G, D), bench.draw(B * L, N, G, D)),
        table_BL=torch.randperm(B * L, device=device).reshape(B, L).int(),
        length_B=torch.full((B,), S, dtype=torch.int32, device=device),
    )
