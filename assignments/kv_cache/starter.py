# %% [markdown]
# # The KV cache
#
# Seven problems, graded one by one; a problem you leave alone costs only its own points. Read
# `README.md` first: it has the theory, the arithmetic and how each problem is graded.
#
# Work in the cells tagged `export`: they are what is graded. Everything a check relies on is fixed
# in the docstrings. Imports: `torch`, `math` and `typing` are enough.
#
# Shape letters: **B** rows of the batch, **T** new tokens, **S** stored tokens, **Hq** query heads,
# **H** key/value heads, **D** head dimension, **C** model width, **V** vocabulary, **N** new tokens
# to generate. A tensor's name ends with its shape: `k_BHTD`.
#
# Rules that hold everywhere: nothing you store may share memory with a caller's tensor (callers
# reuse their buffers), input tensors stay as they are, input tensors may have any strides, and a
# call that raises leaves the object as it was.

# %% tags=["export"]
"""The KV cache: seven problems around the keys and values of a decoder."""

# One file by design: it is what you hand in.

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from harness import CacheConfig, TinyModel

Tensor = torch.Tensor

# %% [markdown]
# ## 1 · `KVCache`
# A cache that grows geometrically, so that n appends of one token copy O(n) tokens, not O(n²).


# %% tags=["export"]
class KVCache:
    """Keys and values of one layer, in order of position.

    Args:
        batch_size: B, at least 1.
        n_kv_heads: H, at least 1.
        head_dim: D, at least 1.
        dtype: dtype of what is stored; appended chunks must have it.
        capacity: tokens to make room for at once, at least 0.
        device: where the buffers live.

    Raises:
        ValueError: if a size is below its minimum.
    """

    def __init__(
        self,
        batch_size: int,
        n_kv_heads: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        capacity: int = 0,
        device: str = "cpu",
    ) -> None:
        raise NotImplementedError

    @property
    def length(self) -> int:
        """Tokens stored, S."""
        raise NotImplementedError

    @property
    def capacity(self) -> int:
        """Tokens there is room for.

        An append that needs more than `capacity` sets it to `max(2 * capacity, needed)`, where
        `needed` is the length after the append: with 3 tokens and a capacity of 4, two more make
        it 8, nine more make it 12. Nothing else changes it: no rewind, and no chunk that is
        refused.
        """
        raise NotImplementedError

    def append(self, k_BHTD: Tensor, v_BHTD: Tensor) -> None:
        """Store a copy of T more tokens, bit for bit; T may be 0.

        Raises:
            ValueError: unless both are [B, H, T, D] with the same T and have the cache's dtype.
        """
        raise NotImplementedError

    def keys(self) -> Tensor:
        """Return the stored keys, [B, H, S, D].

        They may be a view, which the next change spoils.
        """
        raise NotImplementedError

    def values(self) -> Tensor:
        """Return the stored values, [B, H, S, D].

        They may be a view, which the next change spoils.
        """
        raise NotImplementedError

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first `length`; the next append continues there.

        Raises:
            ValueError: unless `0 <= length <= self.length`.
        """
        raise NotImplementedError


# %% [markdown]
# ## 2 · `decode_attention`


# %% tags=["export"]
def decode_attention(
    q_BHqTD: Tensor,
    k_BHSD: Tensor,
    v_BHSD: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    """Return the attention of the T newest tokens of each row over its cached tokens.

    Row b has `lengths_B[b]` valid tokens at positions 0 … lengths_B[b] - 1, the T queries being
    the last T of them: query t stands at position `lengths_B[b] - T + t` and sees every valid
    position up to its own. A query that sees nothing (lengths_B[b] of 0, or fewer than T) gives
    zeros. Keys and values at positions from lengths_B[b] on are undefined, NaN and inf included,
    and must not influence the result. Query head h reads key/value head `h // (Hq // H)`; do not
    copy keys or values once per query head.

    Args:
        q_BHqTD: float32, float16 or bfloat16; T >= 1. Half precision is accumulated in float32.
        k_BHSD: keys, dtype of q; S >= 0.
        v_BHSD: values, shape and dtype of k.
        lengths_B: int64, valid tokens per row, each in 0 … S.
        scale: factor of the scores before softmax; `1 / sqrt(D)` if None.

    Returns:
        [B, Hq, T, D] with the dtype of q.

    Raises:
        ValueError: if a rank, size or dtype differs from the above, Hq is no multiple of H, or a
            length lies outside 0 … S.
    """
    raise NotImplementedError


# %% [markdown]
# ## 3 · `generate`
# `harness.py` holds the model: embeddings, projections, norms and logits. Rotation, cache,
# attention and the choice of tokens are yours.


# %% tags=["export"]
def generate(
    model: "TinyModel",
    prompt_BT: Tensor,
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    uniforms_BN: Tensor | None = None,
    eos_id: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Continue each row of a prompt: prefill once, then decode token by token from the cache.

    The model (see `TinyModel` in `harness.py`) takes at most `model.max_tokens` tokens per call of
    its pieces: prefill longer prompts in chunks. It gives queries and keys *unrotated*. Rotate both
    at their absolute positions, 0 for the first token of the prompt: with D even, i in 0 … D/2 - 1,
    angle `a = position * model.rope_base ** (-2 * i / D)`, the pair (x[i], x[i + D/2]) becomes
    (x[i] cos a - x[i + D/2] sin a, x[i + D/2] cos a + x[i] sin a). Scores are scaled by 1/sqrt(D).

    Step n of row b, with logits z of its last token:
    - `temperature == 0`: the token with the largest z; `uniforms_BN` is ignored. p = softmax(z).
    - `temperature > 0`: p = softmax(z / temperature); the token is the smallest id whose
      cumulative probability p[0] + … + p[id] exceeds `uniforms_BN[b, n]` (V - 1 if rounding leaves
      none).
    A row ends with the step that yields `eos_id`, greedy or sampled; other rows go on. 0 is an id
    like any other: with `eos_id=0`, a row that yields 7, 0 and three steps more is 7, 0, 0, 0, 0.

    Args:
        model: the model.
        prompt_BT: int64 token ids, B >= 1, T >= 1.
        max_new_tokens: N, at least 0.
        temperature: 0 for greedy choice, else positive.
        uniforms_BN: float32 in [0, 1), needed if temperature > 0.
        eos_id: id that ends a row; None if nothing does.

    Returns:
        tokens_BN, int64: the new tokens, the row's `eos_id` included and repeated after it.
        logprobs_BN, float32: log p of each new token; 0 after a row's end.

    Raises:
        ValueError: if the prompt is no int64 [B, T] with B, T >= 1, or holds an id outside
            0 … V - 1; max_new_tokens or temperature is negative; or temperature > 0 and
            uniforms_BN is no [B, N] tensor.
    """
    raise NotImplementedError


# %% [markdown]
# ## 4 · `SlidingWindowCache`
# A ring of the newest tokens behind a few that stay for ever.


# %% tags=["export"]
class SlidingWindowCache:
    """The first `n_sinks` tokens and the newest `window` of the others, in fixed slots.

    Position p < n_sinks lies in slot p. Position p >= n_sinks lies in slot
    `n_sinks + (p - n_sinks) % window`, where a newer token replaces an older one. `keys`, `values`
    and `positions` list the slots in use in order of slot, not of position; there are
    `n = min(length, n_sinks + window)` of them.

    Args:
        batch_size: B, at least 1.
        n_kv_heads: H, at least 1.
        head_dim: D, at least 1.
        window: W, slots of the ring, at least 1.
        n_sinks: tokens that stay, at least 0.
        dtype: dtype of what is stored; appended chunks must have it.
        device: where the buffers live.

    Raises:
        ValueError: if a size is below its minimum.
    """

    def __init__(
        self,
        batch_size: int,
        n_kv_heads: int,
        head_dim: int,
        *,
        window: int,
        n_sinks: int = 0,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        raise NotImplementedError

    @property
    def length(self) -> int:
        """Tokens seen: the position of the next one."""
        raise NotImplementedError

    def append(self, k_BHTD: Tensor, v_BHTD: Tensor) -> None:
        """Take a copy of T more tokens; T may be 0, or larger than the window.

        Raises:
            ValueError: unless both are [B, H, T, D] with the same T and have the cache's dtype.
        """
        raise NotImplementedError

    def keys(self) -> Tensor:
        """Return the keys by slot, [B, H, n, D]."""
        raise NotImplementedError

    def values(self) -> Tensor:
        """Return the values by slot, [B, H, n, D]."""
        raise NotImplementedError

    def positions(self) -> Tensor:
        """Return the position of the token in each slot, int64 [n]."""
        raise NotImplementedError

    def mask(self, n_queries: int) -> Tensor:
        """Return which slots the newest `n_queries` tokens may attend to, bool [n_queries, n].

        Row t belongs to the query at position `length - n_queries + t`. It sees the slots whose
        token stands at its own position or before; what has left the window is not there. After 6
        tokens, a window of 4 without sinks holds positions 4, 5, 2, 3: row 0 of `mask(2)` is True,
        False, True, True, and row 1 is True everywhere.

        Raises:
            ValueError: unless `1 <= n_queries <= length`.
        """
        raise NotImplementedError

    def truncate(self, length: int) -> None:
        """Go back to the state after the first `length` tokens.

        Raises:
            ValueError: unless `0 <= length <= self.length`, or if a token that the cache would
                hold then has been overwritten since.
        """
        raise NotImplementedError


# %% [markdown]
# ## 5 · `SlotCache`
# Continuous batching: requests come and go, each in a slot of its own.


# %% tags=["export"]
class SlotCache:
    """Room for `n_slots` sequences of at most `max_length` tokens.

    Args:
        n_slots: at least 1.
        max_length: tokens per slot, at least 1.
        n_kv_heads: H, at least 1.
        head_dim: D, at least 1.
        dtype: dtype of what is stored; appended chunks must have it.
        device: where the buffers live.

    Raises:
        ValueError: if a size is below its minimum.
    """

    def __init__(
        self,
        n_slots: int,
        max_length: int,
        n_kv_heads: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        raise NotImplementedError

    @property
    def active(self) -> list[int]:
        """Slots in use, ascending."""
        raise NotImplementedError

    def acquire(self) -> int:
        """Take the lowest free slot into use, with length 0, and return its number.

        Raises:
            RuntimeError: if all slots are in use.
        """
        raise NotImplementedError

    def release(self, slot: int) -> None:
        """Give a slot back.

        Raises:
            ValueError: if `slot` is not in use.
        """
        raise NotImplementedError

    def append(self, slots: list[int], k_RHTD: Tensor, v_RHTD: Tensor) -> None:
        """Append T tokens to each of the R slots named: row r goes to `slots[r]`; T may be 0.

        Raises:
            ValueError: if a slot is named twice or is not in use, both tensors are not
                [R, H, T, D] with the cache's dtype, or a slot would exceed `max_length`; then no
                slot changes.
        """
        raise NotImplementedError

    def gather(self, slots: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the R slots named hold, in the order named.

        Returns:
            k_RHSD, v_RHSD: S is the largest length among them; zeros from a row's length on.
            lengths_R: int64.

        Raises:
            ValueError: if a slot is not in use, or none is named.
        """
        raise NotImplementedError


# %% [markdown]
# ## 6 · `QuantizedKVCache`
# One byte per number, one scale per head and token.


# %% tags=["export"]
class QuantizedKVCache:
    """Keys and values as INT8 with one float32 scale per row, head and token.

    For each vector x of D numbers, in float32: `scale = max|x| / 127` (1 if x is all zeros), and
    `q = round(x / scale)`, an int8 in -127 … 127. It stands for `q * scale`, so that no number is
    off by more than `max|x| / 254`. Inputs are finite.

    Args:
        batch_size: B, at least 1.
        n_kv_heads: H, at least 1.
        head_dim: D, at least 1.
        dtype: dtype of appended chunks, queries and what comes back.
        device: where the buffers live.

    Raises:
        ValueError: if a size is below its minimum.
    """

    def __init__(
        self,
        batch_size: int,
        n_kv_heads: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        raise NotImplementedError

    @property
    def length(self) -> int:
        """Tokens stored, S."""
        raise NotImplementedError

    def append(self, k_BHTD: Tensor, v_BHTD: Tensor) -> None:
        """Quantise and store T more tokens; T may be 0.

        Raises:
            ValueError: unless both are [B, H, T, D] with the same T and have the cache's dtype.
        """
        raise NotImplementedError

    def packed_keys(self) -> tuple[Tensor, Tensor]:
        """Return int8 [B, H, S, D] and float32 scales [B, H, S]."""
        raise NotImplementedError

    def packed_values(self) -> tuple[Tensor, Tensor]:
        """Return int8 [B, H, S, D] and float32 scales [B, H, S]."""
        raise NotImplementedError

    def keys(self) -> Tensor:
        """Return the keys dequantised, [B, H, S, D] in the cache's dtype."""
        raise NotImplementedError

    def values(self) -> Tensor:
        """Return the values dequantised, [B, H, S, D] in the cache's dtype."""
        raise NotImplementedError

    def attend(self, q_BHqTD: Tensor) -> Tensor:
        """Return the attention of the newest T tokens over the dequantised tokens.

        Scores are scaled by 1/sqrt(D) and accumulated in float32; query t stands at position
        `length - T + t`, sees the positions up to its own, and query head h reads key/value head
        `h // (Hq // H)`. Only the result is rounded to the cache's dtype: `q * scale` is not, as it
        is in `keys`. Do not dequantise the whole cache at once.

        Raises:
            ValueError: unless q is [B, Hq, T, D] with the cache's dtype, Hq a multiple of H and
                `1 <= T <= length`.
        """
        raise NotImplementedError


# %% [markdown]
# ## 7 · `kv_bytes`
# What a cache costs, exactly, and how many sequences fit.


# %% tags=["export"]
def kv_bytes(config: "CacheConfig", *, batch_size: int, length: int) -> int:
    """Return the bytes of keys and values of `batch_size` sequences of `length` tokens.

    `config.n_window_layers` of the `config.n_layers` layers keep only
    `min(length, n_sinks + window)` tokens. With dtype `torch.int8` each vector of `head_dim`
    numbers has a float32 scale beside it. The result is an exact `int`, however large.

    Raises:
        ValueError: if n_layers, n_query_heads, n_kv_heads or head_dim is below 1; batch_size,
            length, window or n_sinks is negative; n_query_heads is no multiple of n_kv_heads;
            n_window_layers lies outside 0 … n_layers; or there are window layers and window is 0.
    """
    raise NotImplementedError


def largest_batch(config: "CacheConfig", *, length: int, budget_bytes: int) -> int:
    """Return how many sequences of `length` tokens fit into `budget_bytes`; 0 if none does.

    Raises:
        ValueError: as `kv_bytes`; if budget_bytes is negative; or if length is 0.
    """
    raise NotImplementedError


# %% [markdown]
# ## Public cases
# Passing them does not mean that the hidden ones pass: those have other shapes, strides and values.

# %% tags=["scratch", "active-ipynb"]
# from grader.student import check
#
# check("KVCache", KVCache)
# check("decode_attention", decode_attention)
# check("generate", generate)
# check("SlidingWindowCache", SlidingWindowCache)
# check("SlotCache", SlotCache)
# check("QuantizedKVCache", QuantizedKVCache)
# check("kv_bytes", kv_bytes=kv_bytes, largest_batch=largest_batch)
