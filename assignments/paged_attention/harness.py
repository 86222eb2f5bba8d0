"""What the problems are given: a pool of pages to write into, and a hash with collisions on demand.

Takes: sizes. Gives: `PagePool`, `TableHash`. Does not cover: which page belongs to whom.

Shape letters: P pages, N tokens in a page (page size), H key/value heads, D head dimension.
"""

import math

import torch

Tensor = torch.Tensor


class PagePool:
    """Keys and values of one layer, page by page; you may write into them, not replace them.

    Args:
        n_pages: P.
        page_size: N.
        n_kv_heads: H.
        head_dim: D.
        dtype: of keys and values.
        device: where they live.
    """

    def __init__(
        self,
        n_pages: int,
        page_size: int,
        n_kv_heads: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        shape = (2, n_pages, page_size, n_kv_heads, head_dim)
        # NaN where nothing was written: whoever reads it sees it.
        self._kv = torch.full(shape, math.nan, dtype=dtype, device=device)

    @property
    def k_PNHD(self) -> Tensor:  # noqa: N802 - shape suffix
        """Keys, [P, N, H, D]."""
        return self._kv[0]

    @property
    def v_PNHD(self) -> Tensor:  # noqa: N802 - shape suffix
        """Values, [P, N, H, D]."""
        return self._kv[1]


class TableHash:
    """A hash of a block of tokens and of the hash before it; a small modulus makes it collide.

    Args:
        modulus: how many different hashes there are, at least 1.
    """

    def __init__(self, modulus: int) -> None:
        self._modulus = modulus
        self._calls = 0

    @property
    def calls(self) -> int:
        """How often it was called."""
        return self._calls

    def __call__(self, parent: int, tokens: tuple[int, ...]) -> int:
        """Return the hash of `tokens` behind a block with the hash `parent`.

        Raises:
            TypeError: if `tokens` is no tuple.
        """
        if not isinstance(tokens, tuple):
            raise TypeError(f"hash_fn takes a tuple of tokens, got {type(tokens).__name__}")
        self._calls += 1
        value = parent
        for token in tokens:
            value = (value * 1_000_003 + token + 1) % self._modulus
        return value
