"""What is right, slowly and obviously, in float64 wherever numbers are rounded.

Takes: inputs of a case. Gives: expected values. Does not cover: errors, speed, memory.
"""

import math
from dataclasses import dataclass, replace

import torch

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The weights of a small model and the numbers that go with them (see the harness)."""

    weights: dict[str, Tensor]
    n_heads: int
    n_kv_heads: int
    rope_base: float
    max_tokens: int

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return self.weights["embed"].shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """An expected continuation, and how clear it is.

    Attributes:
        tokens: int64 [B, N].
        logprobs: float32 [B, N].
        margin: smallest distance from a choice that would have gone the other way: between the two
            largest logits (greedy), or between a uniform and a step of the cumulative
            probabilities (sampling).
    """

    tokens: Tensor
    logprobs: Tensor
    margin: float


def attention(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float | None = None
) -> Tensor:
    """Return attention of the newest queries, one head at a time, in float64; dtype of `q`."""
    rows, heads, count, dim = q.shape
    scale = 1 / math.sqrt(dim) if scale is None else scale
    group = heads // k.shape[1]
    out = torch.zeros(rows, heads, count, dim, dtype=torch.float64)
    for b in range(rows):
        valid = int(lengths[b])
        first = max(0, count - valid)  # earlier queries see nothing
        positions = torch.arange(valid - count, valid)[first:]
        later = torch.arange(valid) > positions[:, None]
        for h in range(heads):
            keys = k[b, h // group, :valid].double()
            scores = q[b, h, first:].double() @ keys.T * scale
            weights = torch.softmax(scores.masked_fill(later, -math.inf), dim=-1)
            out[b, h, first:] = weights @ v[b, h // group, :valid].double()
    return out.to(q.dtype)


def rotate(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Rotate [B, heads, T, D] at `positions` [T], pairing dimension i with i + D/2."""
    half = x.shape[-1] // 2
    frequencies = base ** (-2 * torch.arange(half, dtype=torch.float64) / x.shape[-1])
    angles = positions.double()[:, None] * frequencies
    low, high = x[..., :half], x[..., half:]
    turned_low = low * angles.cos() - high * angles.sin()
    turned_high = high * angles.cos() + low * angles.sin()
    return torch.cat((turned_low, turned_high), dim=-1)


def in_float64(spec: ModelSpec) -> ModelSpec:
    """Return the same model with weights in float64."""
    return replace(spec, weights={name: weight.double() for name, weight in spec.weights.items()})


def last_logits(spec: ModelSpec, tokens: Tensor) -> Tensor:
    """Return the logits [B, V] of the last of `tokens` [B, T]: no cache, no chunks."""
    return all_logits(spec, tokens)[:, -1]


def all_logits(spec: ModelSpec, tokens: Tensor) -> Tensor:
    """Return the logits [B, T, V] of every one of `tokens` [B, T]."""
    w = spec.weights
    x = w["embed"][tokens]
    count = tokens.shape[1]
    positions = torch.arange(count)
    for layer in range(w["wq"].shape[0]):
        normed = _norm(x, w["norm_attention"][layer])
        q = _heads(normed @ w["wq"][layer], spec.n_heads)
        k = _heads(normed @ w["wk"][layer], spec.n_kv_heads)
        v = _heads(normed @ w["wv"][layer], spec.n_kv_heads)
        q, k = rotate(q, positions, spec.rope_base), rotate(k, positions, spec.rope_base)
        attended = _whole_attention(q, k, v)
        x = x + attended.transpose(1, 2).flatten(2) @ w["wo"][layer]
        normed = _norm(x, w["norm_mlp"][layer])
        gate = normed @ w["w_gate"][layer]
        x = x + (gate * torch.sigmoid(gate) * (normed @ w["w_up"][layer])) @ w["w_down"][layer]
    return _norm(x, w["norm_out"]) @ w["unembed"]


def continuation(
    spec: ModelSpec,
    prompt: Tensor,
    count: int,
    *,
    temperature: float = 0.0,
    uniforms: Tensor | None = None,
    least_margin: float = 0.0,
) -> Continuation:
    """Return `count` new tokens per row, each from the whole sequence so far; no row ends.

    The work stops early once a choice is less clear than `least_margin`.
    """
    spec = in_float64(spec)
    sequence = prompt
    logprobs: list[Tensor] = []
    margin = math.inf
    for n in range(count):
        if margin < least_margin:
            break
        z = last_logits(spec, sequence)
        if temperature > 0 and uniforms is not None:
            p = torch.softmax(z / temperature, dim=-1)
            chosen, distance = _inverse_cdf(p, uniforms[:, n].double())
        else:
            p = torch.softmax(z, dim=-1)
            best = z.topk(2, dim=-1).values
            chosen, distance = z.argmax(dim=-1), float((best[:, 0] - best[:, 1]).min())
        margin = min(margin, distance)
        logprobs.append(p.gather(1, chosen[:, None])[:, 0].log())
        sequence = torch.cat((sequence, chosen[:, None]), dim=1)
    stacked = torch.stack(logprobs, dim=1) if logprobs else torch.zeros(len(prompt), 0)
    return Continuation(
        tokens=sequence[:, prompt.shape[1] :], logprobs=stacked.float(), margin=margin
    )


def greedy_along(
    spec: ModelSpec, prompt: Tensor, got: object, count: int, *, margin: float
) -> tuple[Tensor, Tensor]:
    """Return greedy tokens and log-probabilities after each prefix that a reply itself chose.

    One pass over the whole sequence, where `continuation` makes one per token. A reply's token
    that lies within `margin` of the largest logit is as good as that.

    Args:
        spec: the model.
        prompt: int64 [B, T].
        got: what a submission claims to be tokens [B, N] and log-probabilities [B, N].
        count: N.
        margin: of logits.
    """
    rows = len(prompt)
    tokens = got[0] if isinstance(got, tuple) and got else None
    if (
        not isinstance(tokens, Tensor)
        or tokens.dtype != torch.int64
        or tokens.shape != (rows, count)
        or not bool(((tokens >= 0) & (tokens < spec.vocab_size)).all())
    ):
        tokens = torch.zeros(rows, count, dtype=torch.int64)  # nothing to follow
    spec = in_float64(spec)
    z = all_logits(spec, torch.cat((prompt, tokens), dim=1)[:, :-1])[:, prompt.shape[1] - 1 :]
    best = z.argmax(dim=-1)
    behind = z.gather(2, best[..., None]) - z.gather(2, tokens[..., None])
    chosen = torch.where(behind[..., 0] < margin, tokens, best)
    logprobs = torch.log_softmax(z, dim=-1).gather(2, chosen[..., None])[..., 0]
    return chosen, logprobs.float()


def end_rows(free: Continuation, eos_id: int) -> tuple[Tensor, Tensor]:
    """Return tokens and logprobs of `free` when `eos_id` ends a row."""
    tokens, logprobs = free.tokens.clone(), free.logprobs.clone()
    for row in range(tokens.shape[0]):
        hits = (tokens[row] == eos_id).nonzero()
        if len(hits):
            tokens[row, int(hits[0]) + 1 :] = eos_id
            logprobs[row, int(hits[0]) + 1 :] = 0
    return tokens, logprobs


def ring_contents(length: int, window: int, n_sinks: int) -> list[int]:
    """Return the position in each slot after `length` tokens, written one after the other."""
    slots: dict[int, int] = {}
    for position in range(length):
        slot = position if position < n_sinks else n_sinks + (position - n_sinks) % window
        slots[slot] = position
    return [slots[slot] for slot in sorted(slots)]


def ring_mask(length: int, window: int, n_sinks: int, n_queries: int) -> Tensor:
    """Return the mask of the newest `n_queries` tokens over the slots."""
    contents = torch.tensor(ring_contents(length, window, n_sinks))
    return contents <= torch.arange(length - n_queries, length)[:, None]


def quantised(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 numbers and float32 scales of [B, H, T, D]."""
    largest = x.double().abs().amax(dim=-1)
    scales = torch.where(largest > 0, largest / 127, 1.0)
    return torch.round(x.double() / scales[..., None]).to(torch.int8), scales.float()


def dequantised(x: Tensor) -> Tensor:
    """Return what is left of `x` after quantisation, in float64."""
    numbers, scales = quantised(x)
    return numbers.double() * scales.double()[..., None]


def cache_bytes(config: dict[str, int], itemsize: int, batch_size: int, length: int) -> int:
    """Return the bytes of a cache, layer by layer; int8 (itemsize 1) carries float32 scales."""
    total = 0
    for layer in range(config["n_layers"]):
        tokens = length
        if layer < config.get("n_window_layers", 0):
            tokens = min(length, config.get("n_sinks", 0) + config.get("window", 0))
        vector = config["head_dim"] * itemsize + (4 if itemsize == 1 else 0)
        for _ in ("keys", "values"):
            total += batch_size * config["n_kv_heads"] * tokens * vector
    return total


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + 1e-6) * weight


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _whole_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return `attention` where all tokens are new: a copy of each key head per query head."""
    count = q.shape[2]
    group = q.shape[1] // k.shape[1]
    keys, values = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    unseen = torch.ones(count, count, dtype=torch.bool).triu(1)
    scores = q @ keys.transpose(2, 3) / math.sqrt(q.shape[3])
    return torch.softmax(scores.masked_fill(unseen, -math.inf), dim=-1) @ values


def _inverse_cdf(p: Tensor, uniforms: Tensor) -> tuple[Tensor, float]:
    """Return the chosen ids and the smallest distance of a uniform from an inner step."""
    chosen: list[int] = []
    distance = math.inf
    for row, u in zip(p.tolist(), uniforms.tolist(), strict=True):
        cumulative, steps = 0.0, []
        for weight in row:
            cumulative += weight
            steps.append(cumulative)
        chosen.append(next((i for i, step in enumerate(steps) if step > u), len(row) - 1))
        distance = min(distance, min(abs(step - u) for step in steps[:-1]))
    return torch.tensor(chosen), distance
