"""What the problems are given: a model for `generate`, a description of caches for `kv_bytes`.

Takes: weights; sizes. Gives: `TinyModel`, whose pieces you put together, and `CacheConfig`. Does
not cover: positions (the model knows none: you rotate queries and keys), masks, caches, choosing
tokens, and whether a `CacheConfig` makes sense.

Shape letters: B rows, T tokens of this call, C width, L layers, Hq query heads, H key/value heads,
D head dimension, F width of the feed-forward part, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import silu

Tensor = torch.Tensor

NORM_EPSILON = 1e-6


def _rms_norm(x_BTC: Tensor, weight_C: Tensor) -> Tensor:
    mean_square = x_BTC.square().mean(dim=-1, keepdim=True)
    return x_BTC * torch.rsqrt(mean_square + NORM_EPSILON) * weight_C


class TinyModel:
    """A decoder-only transformer in pieces.

    A step over T tokens with layers 0 … n_layers - 1 goes::

        x = model.embed(tokens)
        for layer in range(model.n_layers):
            q, k, v = model.qkv(layer, x)      # rotate q and k, store k and v, attend
            x = model.finish(layer, x, attended)
        z = model.logits(x)

    Attributes:
        n_layers: L.
        n_heads: Hq.
        n_kv_heads: H.
        head_dim: D, even.
        vocab_size: V.
        rope_base: base of the rotation's frequencies.
        max_tokens: the largest T that `embed` takes; longer prompts come in chunks.

    Args:
        weights: `embed` [V, C], `norm_attention` [L, C], `wq` [L, C, Hq * D], `wk` and `wv`
            [L, C, H * D], `wo` [L, Hq * D, C], `norm_mlp` [L, C], `w_up` and `w_gate` [L, C, F],
            `w_down` [L, F, C], `norm_out` [C], `unembed` [C, V].
        n_heads: Hq.
        n_kv_heads: H.
        rope_base: base of the rotation's frequencies.
        max_tokens: the largest T that one call takes.
    """

    def __init__(
        self,
        weights: dict[str, Tensor],
        *,
        n_heads: int,
        n_kv_heads: int,
        rope_base: float,
        max_tokens: int,
    ) -> None:
        self._weights = {name: weight.clone() for name, weight in weights.items()}
        self.n_layers = self._weights["wq"].shape[0]
        self.n_heads = n_heads
        self.n_kv_heads = n_kv_heads
        self.head_dim = self._weights["wq"].shape[2] // n_heads
        self.vocab_size = self._weights["embed"].shape[0]
        self.rope_base = rope_base
        self.max_tokens = max_tokens

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """Return the embeddings [B, T, C] of int64 token ids.

        Raises:
            ValueError: if T is larger than `max_tokens`.
        """
        if tokens_BT.shape[1] > self.max_tokens:
            raise ValueError(
                f"{tokens_BT.shape[1]} tokens in one call, the model takes at most "
                f"{self.max_tokens}: prefill in chunks"
            )
        return self._weights["embed"][tokens_BT]

    def qkv(self, layer: int, x_BTC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q [B, Hq, T, D], k and v [B, H, T, D] of a layer, not rotated."""
        normed = _rms_norm(x_BTC, self._weights["norm_attention"][layer])
        q = self._split(normed @ self._weights["wq"][layer], self.n_heads)
        k = self._split(normed @ self._weights["wk"][layer], self.n_kv_heads)
        v = self._split(normed @ self._weights["wv"][layer], self.n_kv_heads)
        return q, k, v

    def finish(self, layer: int, x_BTC: Tensor, attended_BHqTD: Tensor) -> Tensor:
        """Return the output [B, T, C] of a layer, given its input and its attention."""
        attended_BTHqD = attended_BHqTD.transpose(1, 2)
        x_BTC = x_BTC + attended_BTHqD.flatten(start_dim=2) @ self._weights["wo"][layer]
        normed = _rms_norm(x_BTC, self._weights["norm_mlp"][layer])
        hidden = silu(normed @ self._weights["w_gate"][layer])
        hidden = hidden * (normed @ self._weights["w_up"][layer])
        return x_BTC + hidden @ self._weights["w_down"][layer]

    def logits(self, x_BTC: Tensor) -> Tensor:
        """Return the logits [B, T, V] of the last layer's output."""
        return _rms_norm(x_BTC, self._weights["norm_out"]) @ self._weights["unembed"]

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.reshape(*x.shape[:2], heads, self.head_dim).transpose(1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """What decides the size of a cache; nothing here is checked.

    Attributes:
        n_layers: layers of the model.
        n_query_heads: Hq, per layer.
        n_kv_heads: H, per layer.
        head_dim: D.
        dtype: of what is stored; `torch.int8` stands for quantised vectors with float32 scales.
        n_window_layers: how many of the layers keep only sinks and a window.
        window: newest tokens that those layers keep.
        n_sinks: first tokens that those layers keep.
    """

    n_layers: int
    n_query_heads: int
    n_kv_heads: int
    head_dim: int
    dtype: torch.dtype = torch.float16
    n_window_layers: int = 0
    window: int = 0
    n_sinks: int = 0
