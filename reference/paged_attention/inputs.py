"""Inputs that several cases share: pages in disorder, poison wherever nobody may look.

Takes: a case's `Draw`. Gives: caches, tables, lengths. Does not cover: expected values.
"""

import math
from dataclasses import dataclass

import torch

from grader.author import Draw

Tensor = torch.Tensor

OUT_OF_RANGE = 1_000_003
"""A page that no pool has: stands in entries of a table that are not in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Keys and values of B sequences in a pool.

    Attributes:
        k: [P, N, H, D].
        v: [P, N, H, D].
        table: int64 [B, L].
        lengths: int64 [B].
    """

    k: Tensor
    v: Tensor
    table: Tensor
    lengths: Tensor

    @property
    def caches(self) -> tuple[Tensor, Tensor]:
        """Keys and values."""
        return self.k, self.v

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What a submission gets."""
        return self.k, self.v, self.table, self.lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Sizes of a pool.

    Attributes:
        page_size: N.
        heads: H.
        dim: D.
        dtype: of keys and values.
        dead: what lies in rows and pages without a token.
        tail: what stands in entries of the table that are not in use.
    """

    page_size: int
    heads: int = 2
    dim: int = 8
    dtype: torch.dtype = torch.float32
    dead: float = 0.0
    tail: int = 0


def draw_pages(draw: Draw, lengths: list[int], layout: Layout) -> Pages:
    """Return a pool in which the pages of all sequences lie mixed, two of them in use by nobody.

    Pages are views: heads lie before tokens, and every other column is used.
    """
    size = layout.page_size
    used = [-(-length // size) for length in lengths]
    pages = sum(used) + 2
    order = draw.shuffled(range(pages))
    table = torch.full((len(lengths), max(used, default=0) + 1), layout.tail, dtype=torch.int64)
    live = torch.zeros(pages, size, dtype=torch.bool)
    for b, (length, count) in enumerate(zip(lengths, used, strict=True)):
        mine, order = order[:count], order[count:]
        table[b, :count] = torch.tensor(mine, dtype=torch.int64)
        live[mine] = True
        live[mine[-1:], (length - 1) % size + 1 :] = False
    heads, dim = layout.heads, layout.dim
    k = draw.normal_tensor(pages, heads, size, dim).to(layout.dtype).transpose(1, 2)
    v = draw.normal_tensor(pages, size, heads, 2 * dim).to(layout.dtype)[..., ::2]
    k[~live], v[~live] = layout.dead, layout.dead
    return Pages(k=k, v=v, table=table, lengths=torch.tensor(lengths, dtype=torch.int64))


def raise_scores(q: Tensor, pages: Pages) -> Tensor:
    """Return queries [.., D] whose scores with every key are all about `COARSE_SCORE` higher.

    One of the last two columns of each key is set to one number, and those of a query differ
    little: softmax hardly feels it. But scores that are kept in float16 lie 2^-3 apart there, and
    a query that is scaled before it is multiplied is rounded in two columns, to different sides.
    """
    size, dim = pages.k.shape[1], q.shape[-1]
    places = torch.arange(pages.k.shape[0] * size).view(-1, size, 1)
    for turn, column in enumerate((-1, -2)):
        mine = torch.where(places % 2 == turn, COARSE_SCORE / 8 * dim**0.5, 0.0)
        pages.k[..., column] = torch.where(pages.k[..., column].isnan(), math.nan, mine)
    raised = q.clone()
    steps = torch.arange(q[..., 0].numel()).view(q.shape[:-1])
    raised[..., -1] = (7.0 + steps % 61 / 64).to(q.dtype)
    raised[..., -2] = (7.0 + steps % 61 / 64 + (steps % 5 - 2) / 128).to(q.dtype)
    return raised


COARSE_SCORE = 160.0
"""Added to scores of float16 cases."""

NAN = math.nan
"""Poison: 0 times it is not 0."""
