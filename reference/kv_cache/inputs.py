"""Inputs that several cases share: chunks of keys and values, small models.

Takes: a case's `Draw`. Gives: tensors in awkward strides, `ModelSpec`s. Does not cover: expected
values (see `oracle`).
"""

import math

import torch

from grader.author import Draw, New

from .oracle import ModelSpec

Tensor = torch.Tensor
Pair = tuple[Tensor, Tensor]

DTYPES = (torch.float32, torch.float16, torch.bfloat16)

LAYOUTS = ("contiguous", "heads after tokens", "columns before tokens", "every other column")
"""How the entries of [B, heads, T, D] may lie in memory."""


def laid_out(x: Tensor, layout: str) -> Tensor:
    """Return [B, heads, T, D] with the same entries, in another order in memory."""
    match layout:
        case "heads after tokens":
            return x.transpose(1, 2).contiguous().transpose(1, 2)
        case "columns before tokens":
            return x.transpose(2, 3).contiguous().transpose(2, 3)
        case "every other column":
            return x.repeat_interleave(2, dim=-1)[..., ::2]
    return x


def plain_pair(draw: Draw, *shape: int, dtype: torch.dtype = torch.float32) -> Pair:
    """Return contiguous k and v of small whole numbers, which every dtype holds exactly."""
    k = draw.integer_tensor(*shape, low=-99, high=99).to(dtype)
    v = draw.integer_tensor(*shape, low=-99, high=99).to(dtype)
    return k, v


def strided_pair(
    draw: Draw, *shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0
) -> Pair:
    """Return normal k and v [B, H, T, D] that are views: heads after tokens, every other column."""
    rows, heads, count, dim = shape
    k = draw.normal_tensor(rows, count, heads, dim, dtype=dtype, scale=scale).transpose(1, 2)
    v = draw.normal_tensor(rows, heads, count, 2 * dim, dtype=dtype, scale=scale)[..., ::2]
    return k, v


def powers_of_two(draw: Draw, *shape: int, low: int, high: int) -> Tensor:
    """Return 2 to random whole powers in `[low, high]`.

    From a table: powers that are computed differ in their last bit from one CPU to another, and
    inputs must be the same everywhere.
    """
    table = torch.tensor([2.0**power for power in range(low, high + 1)])
    return table[draw.integer_tensor(*shape, low=0, high=high - low)]


def joined(pairs: list[Pair]) -> Pair:
    """Return all chunks one after the other."""
    return torch.cat([k for k, _ in pairs], dim=2), torch.cat([v for _, v in pairs], dim=2)


def sizes(draw: Draw) -> tuple[int, int, int]:
    """Return B, H, D: odd numbers and ones among them."""
    return draw.integer(1, 3), draw.integer(1, 3), draw.choice((1, 3, 5, 8, 12))


def draw_model(draw: Draw, *, max_tokens: int = 64, kv_heads: int = 0, group: int = 0) -> ModelSpec:
    """Return a small random model in which the context decides the next token.

    Heads and query heads per head are drawn unless they are given.
    """
    kv_heads = kv_heads or draw.integer(1, 2)
    heads = kv_heads * (group or draw.choice((1, 2, 3)))
    layers, width, dim = 2, 16, draw.choice((4, 6, 8))
    hidden, vocabulary = draw.choice((20, 27)), draw.choice((29, 37))

    def matrix(*shape: int, gain: float = 1.0) -> Tensor:
        return draw.normal_tensor(*shape, scale=gain / shape[-2] ** 0.5)

    def near_one(*shape: int) -> Tensor:
        return draw.uniform_tensor(*shape, low=0.7, high=1.3)

    weights = {
        "embed": draw.normal_tensor(vocabulary, width),
        "norm_attention": near_one(layers, width),
        "wq": matrix(layers, width, heads * dim, gain=1.5),
        "wk": matrix(layers, width, kv_heads * dim, gain=1.5),
        "wv": matrix(layers, width, kv_heads * dim),
        "wo": matrix(layers, heads * dim, width, gain=2.0),
        "norm_mlp": near_one(layers, width),
        "w_up": matrix(layers, width, hidden),
        "w_gate": matrix(layers, width, hidden),
        "w_down": matrix(layers, hidden, width),
        "norm_out": near_one(width),
        "unembed": matrix(width, vocabulary, gain=3.0),
    }
    return ModelSpec(
        weights=weights,
        n_heads=heads,
        n_kv_heads=kv_heads,
        rope_base=draw.choice((10.0, 100.0, 10000.0)),
        max_tokens=max_tokens,
    )


def draw_wide_model(draw: Draw, *, max_tokens: int) -> ModelSpec:
    """Return a model that is large enough for its products to outweigh a step's fixed cost."""
    layers, width, heads, dim, hidden, vocabulary = 2, 256, 4, 64, 512, 96

    def matrix(*shape: int, gain: float = 1.0) -> Tensor:
        # One small random matrix, shifted along: numbers from the generator cost the judge time.
        flat = draw.normal_tensor(4099, scale=gain / shape[-2] ** 0.5)
        return flat.repeat(math.prod(shape) // 4099 + 1)[: math.prod(shape)].reshape(shape)

    weights = {
        "embed": draw.normal_tensor(vocabulary, width),
        "norm_attention": torch.ones(layers, width),
        "wq": matrix(layers, width, heads * dim),
        "wk": matrix(layers, width, heads * dim),
        "wv": matrix(layers, width, heads * dim),
        "wo": matrix(layers, heads * dim, width),
        "norm_mlp": torch.ones(layers, width),
        "w_up": matrix(layers, width, hidden),
        "w_gate": matrix(layers, width, hidden),
        "w_down": matrix(layers, hidden, width),
        "norm_out": torch.ones(width),
        "unembed": matrix(width, vocabulary),
    }
    return ModelSpec(
        weights=weights, n_heads=heads, n_kv_heads=heads, rope_base=10000.0, max_tokens=max_tokens
    )


def new_model(spec: ModelSpec) -> New:
    """Return the step that makes the model in the sandbox."""
    return New(
        "harness:TinyModel",
        spec.weights,
        n_heads=spec.n_heads,
        n_kv_heads=spec.n_kv_heads,
        rope_base=spec.rope_base,
        max_tokens=spec.max_tokens,
    )
