# %% [markdown]
# # Paged attention
#
# Eight problems, graded one by one; a problem you leave alone costs only its own points. Read
# `README.md` first: it has the theory, the arithmetic and how each problem is graded.
#
# Work in the cells tagged `export`: they are what is graded. Everything a check relies on is fixed
# in the docstrings. Imports: `torch`, `math`, `typing` and, if you like, `triton` are enough.
#
# Shape letters: **B** sequences, **T** new tokens, **S** stored tokens, **Hq** query heads, **H**
# key/value heads, **D** head dimension, **P** pages, **N** tokens in a page, **L** entries in a row
# of the block table, **C** splits of a sequence. A tensor's name ends with its shape: `k_PNHD`.
#
# Rules that hold everywhere: inputs stay as they are (a pool that you are asked to write into is
# the only exception), inputs may have any strides, nothing you keep may share memory with an input,
# and a call that raises leaves everything as it was. "Block" and "page" mean the same: N tokens.
# Of two errors at once, which is raised is not graded. Lists reach your code as copies, and what
# you return is copied too: whether you keep or change a list is not graded.

# %% tags=["export"]
"""Paged attention: eight problems around blocks of keys and values."""

# One file by design: it is what you hand in.

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from harness import PagePool

Tensor = torch.Tensor

# %% [markdown]
# ## 1 · `BlockAllocator`
# Who holds which block, counted.


# %% tags=["export"]
class BlockAllocator:
    """Blocks 0 … n_blocks - 1, each with a count of its holders; 0 means free.

    Free blocks stand in a queue, at first 0, 1, 2, … A block that becomes free goes to its end.

    Args:
        n_blocks: at least 1.

    Raises:
        ValueError: if n_blocks is below 1.
    """

    def __init__(self, n_blocks: int) -> None:
        raise NotImplementedError

    @property
    def n_free(self) -> int:
        """Number of free blocks."""
        raise NotImplementedError

    def count(self, block: int) -> int:
        """Return how many holders a block has.

        Raises:
            ValueError: if there is no such block.
        """
        raise NotImplementedError

    def allocate(self, count: int) -> list[int]:
        """Take the first `count` blocks of the queue, in its order; each has one holder then.

        Raises:
            ValueError: if count is negative.
            RuntimeError: if fewer are free; then none is taken.
        """
        raise NotImplementedError

    def share(self, block: int) -> None:
        """Add a holder to a block in use.

        Raises:
            ValueError: if it is free, or there is no such block.
        """
        raise NotImplementedError

    def release(self, blocks: list[int]) -> None:
        """Take one holder from each block named, in order; a block without one becomes free.

        A block may be named several times, up to its count: if block 0 has two holders and block 1
        has one, release([0, 1, 0]) frees 1 first and then 0.

        Raises:
            ValueError: if a block is named more often than it has holders, or there is no such
                block; then no count changes.
        """
        raise NotImplementedError


# %% [markdown]
# ## 2 · `write_kv`


# %% tags=["export"]
def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    """Write keys and values of new tokens into a pool, in place, bit for bit.

    Slot s is row `s % N` of page `s // N`. A token with slot -1 is padding and goes nowhere.
    Everything else in the pool stays as it is. `pool.k_PNHD` and `pool.v_PNHD` (see `harness.py`)
    are [P, N, H, D]; write into these tensors, not into copies.

    Args:
        pool: the pool.
        k_THD: keys, dtype of the pool; T >= 0.
        v_THD: values, shape and dtype of k.
        slots_T: int64, one per token.

    Raises:
        ValueError: if a rank, size or dtype differs from the above; a slot is below -1 or not
            below P * N; or two tokens have the same slot (other than -1). The pool has not changed.
    """
    raise NotImplementedError


# %% [markdown]
# ## 3 · `paged_decode`


# %% tags=["export"]
def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    """Return the attention of one query per sequence over its tokens.

    Token t of sequence b lies in page `table_BL[b, t // N]`, row `t % N`, for t in
    0 … lengths_B[b] - 1. The query sees all of them; with none the result is zeros. Query head h
    reads key/value head `h // (Hq // H)`. Entries of the table behind the last page in use may hold
    any number, and rows and pages that no token lies in may hold NaN and inf: neither may influence
    the result. Do not gather pages that a sequence does not use, and not those of all sequences at
    once.

    Args:
        q_BHqD: float32 or float16. Half precision is accumulated in float32.
        k_PNHD: keys, dtype of q; any page size N >= 1. Sizes of 0 heads or columns
            are not graded.
        v_PNHD: values, shape and dtype of k.
        table_BL: int64, page numbers.
        lengths_B: int64, each in 0 … L * N.
        scale: factor of the scores before softmax; `1 / sqrt(D)` if None.

    Returns:
        [B, Hq, D] with the dtype of q.

    Raises:
        ValueError: if a rank, size or dtype differs from the above, Hq is no multiple of H, a
            length lies outside 0 … L * N, or a page number in use outside 0 … P - 1.
    """
    raise NotImplementedError


# %% [markdown]
# ## 4 · `split_kv_decode`
# A long sequence in several parts, which are merged exactly.


# %% tags=["export"]
def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    """Return attention over all tokens from attention over each of C parts of them.

    Args:
        o_CBHqD: float32, C >= 1; the attention of each part. Where a part is empty it may hold
            anything, NaN included.
        lse_CBHq: float32; natural logarithm of the sum of exp(score) over a part; -inf where it is
            empty.

    Returns:
        o_BHqD, float32: zeros where all parts are empty.
        lse_BHq, float32: -inf there.

    Raises:
        ValueError: if a rank, size or dtype differs from the above.
    """
    raise NotImplementedError


def split_kv_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    n_splits: int,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what `paged_decode` returns, and the log-sum-exp of its scores.

    The tokens of each sequence are cut into `n_splits` parts, which hold at most one more than
    1/n_splits of them and may be empty; where exactly you cut is yours. Do not gather the tokens of
    a sequence all at once, unless `n_splits` is 1.

    Args:
        q_BHqD: as in `paged_decode`.
        k_PNHD: as in `paged_decode`.
        v_PNHD: as in `paged_decode`.
        table_BL: as in `paged_decode`.
        lengths_B: as in `paged_decode`.
        n_splits: C, at least 1; may exceed the number of tokens.
        scale: as in `paged_decode`.

    Returns:
        o_BHqD: with the dtype of q.
        lse_BHq: float32; the natural logarithm of the sum of exp(scale * score); -inf for a length
            of 0.

    Raises:
        ValueError: as `paged_decode`, or if n_splits is below 1.
    """
    raise NotImplementedError


# %% [markdown]
# ## 5 · `PrefixCache`
# Requests that begin alike share the blocks of their beginning.


# %% tags=["export"]
class PrefixCache:
    """Blocks of prompts, found again by chained hashes.

    Every full block of a prompt has the hash `hash_fn(parent, tokens)`: `parent` is the hash of
    the block before it (0 for the first one) and `tokens` a tuple of its `block_size` token ids.
    An *entry* under this hash says: in this block lie these tokens, behind the parent's entry.

    - A block hits if there is an entry under its hash with the same tokens, behind the very entry
      that the block before it has hit (the first block: behind none). Equal hashes alone say
      nothing: they can collide. Behind a block that does not hit, none does.
    - Of a prompt of n tokens only the first blocks may hit, at most
      (n - 1) // block_size of them: at least one token must be computed, or there would be no
      logits.
    - Every other full block is entered, unless there is just this entry already (the same hash,
      tokens and parent's entry; so it is with the last block of a known prompt): then that stays,
      and the new block has none. There is one entry per hash: a new one replaces what stood there,
      and the old block then has no entry (its holders keep it).
    - A block without holders is free, but keeps its entry until it is given out: a hit on a free
      block takes it out of the queue. When a free block is given out for other content its own
      entry ends, and what was entered behind that can no longer be reached.

    Free blocks stand in a queue, at first 0, 1, 2, …; blocks are given out from its front.

    Args:
        n_blocks: at least 1.
        block_size: tokens per block, at least 1.
        hash_fn: `hash_fn(parent: int, tokens: tuple[int, ...]) -> int`, called at most once for
            each full block of a prompt by each `allocate`. Whether you call it less often, or
            before you refuse a prompt, is not graded.

    Raises:
        ValueError: if a size is below its minimum.
    """

    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        raise NotImplementedError

    @property
    def n_free(self) -> int:
        """Number of blocks without holders, with an entry or not."""
        raise NotImplementedError

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        """Return the blocks of a prompt and how many of its tokens need not be computed.

        First all hits get one more holder. Then the other blocks, the last one perhaps not full,
        are taken from the queue in order, each with one holder, and the full ones are entered. The
        number returned is `block_size` times the number of hits.

        Raises:
            ValueError: if the prompt is empty.
            RuntimeError: if the queue, without the hits, has too few blocks; nothing has changed.
        """
        raise NotImplementedError

    def release(self, blocks: list[int]) -> None:
        """Take one holder from each block, the last one first; without any it joins the queue.

        So the end of a prompt is given out again before its beginning. The blocks of a prompt are
        released together, as `allocate` returned them; releases of a part are not graded.

        Raises:
            ValueError: if a block is named more often than it has holders, or there is no such
                block; nothing has changed.
        """
        raise NotImplementedError


# %% [markdown]
# ## 6 · `fork`
# Sequences that share their beginning until one of them writes.


# %% tags=["export"]
class ForkingCache:
    """Keys and values of sequences in blocks; a fork shares them, a write copies one at most.

    A sequence of S tokens holds ceil(S / block_size) blocks. `fork` copies none. An append
    that would write into a last block which other sequences hold as well copies that block first,
    whichever of them appends; its last holder writes in place.

    Args:
        n_blocks: P, at least 1.
        block_size: N, at least 1.
        n_kv_heads: H, at least 1.
        head_dim: D, at least 1.
        dtype: dtype of what is stored; appended tokens must have it.
        device: where the blocks live. Every check leaves it at its default: it is not graded.

    Raises:
        ValueError: if a size is below its minimum.
    """

    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        n_kv_heads: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        raise NotImplementedError

    @property
    def n_free(self) -> int:
        """Number of blocks that no sequence holds."""
        raise NotImplementedError

    def create(self) -> int:
        """Begin an empty sequence and return its number: 0, 1, 2, …; none is used twice."""
        raise NotImplementedError

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        """Append a copy of T >= 0 tokens to a sequence.

        Raises:
            ValueError: if there is no such sequence, or both tensors are not [T, H, D] with the
                cache's dtype.
            RuntimeError: if there are too few free blocks, the copy included; nothing has changed.
        """
        raise NotImplementedError

    def fork(self, sequence: int) -> int:
        """Begin a sequence that continues another one, and return its number, as `create` does.

        Raises:
            ValueError: if there is no such sequence.
        """
        raise NotImplementedError

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        """Return the keys and values of a sequence, each [S, H, D]; whether as views is not graded.

        Raises:
            ValueError: if there is no such sequence.
        """
        raise NotImplementedError

    def release(self, sequence: int) -> None:
        """End a sequence; blocks that no other one holds become free.

        Raises:
            ValueError: if there is no such sequence.
        """
        raise NotImplementedError


# %% [markdown]
# ## 7 · `paged_prefill`


# %% tags=["export"]
def paged_prefill(
    q_THqD: Tensor,
    starts_B1: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    """Return causal attention of chunks of new tokens over pages that hold them already.

    The queries of all sequences lie packed one behind the other: sequence b has rows
    `starts_B1[b]` … `starts_B1[b + 1] - 1`, n of them, perhaps none. They are the last n of its
    `lengths_B[b]` tokens: query i stands at position `lengths_B[b] - n + i` and sees every token up
    to its own. A query that sees nothing (its position is negative) gives zeros. Where tokens lie
    and what may not influence the result is as in `paged_decode`. Do not pad sequences to the
    longest one.

    Args:
        q_THqD: float32 or float16. Half precision is accumulated in float32.
        starts_B1: int64, B + 1 numbers, the first 0, the last T, none below the one before it:
            [0, 2, 2, 5] for chunks of 2, 0 and 3 queries.
        k_PNHD: as in `paged_decode`.
        v_PNHD: as in `paged_decode`.
        table_BL: as in `paged_decode`.
        lengths_B: as in `paged_decode`; new tokens included. Whether page numbers of sequences
            without queries are refused is not graded.
        scale: as in `paged_decode`.

    Returns:
        [T, Hq, D] with the dtype of q.

    Raises:
        ValueError: as `paged_decode`, or if starts_B1 is not as said above.
    """
    raise NotImplementedError


# %% [markdown]
# ## 8 · `Scheduler`
# Continuous batching: who runs, who waits, who has to go.


# %% tags=["export"]
class Scheduler:
    """First come, first served; when blocks run out the newest request goes and comes back first.

    A request has *tokens*: its prompt and what was generated so far. A *running* request holds
    ceil(n / block_size) blocks for the n tokens it had at its last step. The others wait in a
    queue: `add` puts them at its end.

    A `step` goes like this:

    1. The running requests, oldest first (in the order of `add`), take the blocks that their tokens
       need now, at most one each. If none is free, the newest running request is *preempted*: it
       gives up all of its blocks and goes to the front of the queue. This is repeated until
       there is a block, or the request that needs one has itself been preempted.
    2. If nothing was preempted in this step: while fewer than `max_running` requests run, the
       first of the queue is *admitted* if all blocks that its tokens need are free. The first
       one that does not fit ends this: nobody overtakes.

    Then the caller computes the step and hands in one new token for each running request by
    `commit`. A request ends with `eos_id` or with its `max_new_tokens`-th token, and its blocks
    become free. A preempted request keeps its tokens: admitted again, all are computed anew.

    Args:
        n_blocks: at least 1.
        block_size: at least 1.
        max_running: at least 1.
        eos_id: token id that ends a request; any, 0 included.

    Raises:
        ValueError: if a size is below its minimum.
    """

    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        raise NotImplementedError

    @property
    def n_free(self) -> int:
        """Number of blocks that no running request holds."""
        raise NotImplementedError

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        """Put a request at the end of the queue.

        Raises:
            ValueError: if the number was used before, the prompt is empty, max_new_tokens is below
                1, or the request could not run alone to its end: its prompt and all but the last of
                its new tokens need more than `n_blocks` blocks.
        """
        raise NotImplementedError

    def step(self) -> dict[str, list[int]]:
        """Plan the next step.

        Returns:
            "admitted": requests admitted in this step, in order; all of their tokens are computed.
            "decoded": the other running requests, oldest first; their newest token is computed.
            "preempted": requests preempted in this step, in order.

        Raises:
            RuntimeError: if the last step has not been committed, unless it ran nothing.
        """
        raise NotImplementedError

    def commit(self, tokens: list[list[int]]) -> list[int]:
        """Take one pair of request and new token for each running request, in any order.

        Whether `commit([])` is refused before the first step, or behind a step that ran nothing, is
        not graded.

        Returns:
            The requests that have ended, oldest first (in the order of `add`, not of `tokens`).

        Raises:
            ValueError: if the requests named are not exactly those of the last step, each once, or
                it has been committed; nothing has changed.
        """
        raise NotImplementedError

    def tokens(self, request: int) -> list[int]:
        """Return a request's tokens, prompt first, also after its end.

        Raises:
            ValueError: if there is no such request.
        """
        raise NotImplementedError


# %% [markdown]
# ## Public cases
# Passing them does not mean that the hidden ones pass: those have other shapes, strides and values.

# %% tags=["scratch", "active-ipynb"]
# from grader.student import check
#
# check("BlockAllocator", BlockAllocator)
# check("write_kv", write_kv)
# check("paged_decode", paged_decode)
# check("split_kv_decode", merge_splits=merge_splits, split_kv_decode=split_kv_decode)
# check("PrefixCache", PrefixCache)
# check("fork", ForkingCache)
# check("paged_prefill", paged_prefill)
# check("Scheduler", Scheduler)
