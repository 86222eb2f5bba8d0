"""The reference submission: what a student with full marks hands in, in one self-contained file.

Takes: nothing but torch. Gives: the seven problems of the assignment. Does not cover: fused
kernels. It is longer than other modules because a submission is one file.

Shape letters: B rows, T new tokens, S stored tokens, Hq query heads, H key/value heads, G query
heads per key/value head, D head dimension, V vocabulary, N new tokens, R slots named in a call.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from harness import CacheConfig, TinyModel

Tensor = torch.Tensor

INT8_MAX = 127
BLOCK_TOKENS = 256


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        _require(size >= 1, f"{name} must be at least 1, got {size}")


def _require_chunk(k: Tensor, v: Tensor, sizes: tuple[int, int, int], dtype: torch.dtype) -> int:
    """Return T of a chunk [B, H, T, D]; sizes are (B, H, D)."""
    rows, heads, dim = sizes
    for name, x in (("k", k), ("v", v)):
        shape = tuple(x.shape)
        _require(x.dim() == 4, f"{name} must have 4 dimensions, got shape {shape}")
        _require(shape[:2] + shape[3:] == (rows, heads, dim), f"{name} has shape {shape}")
        _require(x.dtype == dtype, f"{name} must be {dtype}, got {x.dtype}")
    _require(k.shape == v.shape, f"k and v differ: {tuple(k.shape)}, {tuple(v.shape)}")
    return k.shape[2]


def _attend(
    q_BHqTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, seen_BTS: Tensor, scale: float
) -> Tensor:
    """Return attention over what `seen_BTS` allows, in float32; zeros where nothing is seen.

    The query heads of a group are rows of one product with their shared keys.
    """
    B, Hq, T, D = q_BHqTD.shape
    H, S = k_BHSD.shape[1:3]
    if S == 0:
        return torch.zeros_like(q_BHqTD)
    grouped = q_BHqTD.float().reshape(B, H, Hq // H * T, D)
    scores = (grouped @ k_BHSD.float().transpose(2, 3)) * scale
    scores = scores.view(B, H, Hq // H, T, S).masked_fill(~seen_BTS[:, None, None], -math.inf)
    peak = scores.amax(dim=-1, keepdim=True)
    weights = torch.exp(scores - peak.masked_fill(peak == -math.inf, 0.0))
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-30)
    live_BS = seen_BTS.any(dim=1)
    values = v_BHSD.float().masked_fill(~live_BS[:, None, :, None], 0.0)
    out = weights.view(B, H, Hq // H * T, S) @ values
    return out.view(B, Hq, T, D).to(q_BHqTD.dtype)


def _causal(lengths_B: Tensor, n_queries: int, n_keys: int) -> Tensor:
    """Return which keys the newest `n_queries` tokens of each row see, bool [B, T, S]."""
    steps_T = torch.arange(n_queries, device=lengths_B.device)
    own_BT = lengths_B[:, None] - n_queries + steps_T
    return torch.arange(n_keys, device=lengths_B.device) <= own_BT[:, :, None]


class KVCache:
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
        _require_sizes(batch_size=batch_size, n_kv_heads=n_kv_heads, head_dim=head_dim)
        _require(capacity >= 0, f"capacity must not be negative, got {capacity}")
        self._sizes = (batch_size, n_kv_heads, head_dim)
        self._dtype = dtype
        self._length = 0
        shape = (2, batch_size, n_kv_heads, capacity, head_dim)
        self._kv = torch.empty(shape, dtype=dtype, device=device)

    @property
    def length(self) -> int:
        return self._length

    @property
    def capacity(self) -> int:
        return self._kv.shape[3]

    def append(self, k_BHTD: Tensor, v_BHTD: Tensor) -> None:
        end = self._length + _require_chunk(k_BHTD, v_BHTD, self._sizes, self._dtype)
        if end > self.capacity:
            self._grow(end)
        self._kv[0, :, :, self._length : end] = k_BHTD
        self._kv[1, :, :, self._length : end] = v_BHTD
        self._length = end

    def _grow(self, needed: int) -> None:
        rows, heads, dim = self._sizes
        shape = (2, rows, heads, max(2 * self.capacity, needed), dim)
        larger = torch.empty(shape, dtype=self._dtype, device=self._kv.device)
        larger[:, :, :, : self._length] = self._kv[:, :, :, : self._length]
        self._kv = larger

    def keys(self) -> Tensor:
        return self._kv[0, :, :, : self._length]

    def values(self) -> Tensor:
        return self._kv[1, :, :, : self._length]

    def truncate(self, length: int) -> None:
        _require(0 <= length <= self._length, f"cannot keep {length} of {self._length} tokens")
        self._length = length


def _require_attention(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> None:
    _require(q.dim() == 4 and k.dim() == 4, "q and k must have 4 dimensions")
    _require(q.dtype in (torch.float32, torch.float16, torch.bfloat16), f"q is {q.dtype}")
    _require(k.shape == v.shape, "k and v must have the same shape")
    _require(k.dtype == q.dtype and v.dtype == q.dtype, "q, k and v must have the same dtype")
    _require(q.shape[0] == k.shape[0], "q and k have different batch sizes")
    _require(q.shape[3] == k.shape[3], "q and k have different head dimensions")
    _require(q.shape[2] >= 1, "there must be a query")
    heads, kv_heads = q.shape[1], k.shape[1]
    _require(kv_heads >= 1 and heads >= 1 and heads % kv_heads == 0, f"{heads}, {kv_heads} heads")
    _require(lengths.dtype == torch.int64, f"lengths must be int64, got {lengths.dtype}")
    _require(lengths.shape == q.shape[:1], "there must be one length per row")
    inside = bool(((lengths >= 0) & (lengths <= k.shape[2])).all())
    _require(inside, f"a length outside 0 … {k.shape[2]}")


def decode_attention(
    q_BHqTD: Tensor,
    k_BHSD: Tensor,
    v_BHSD: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    seen_BTS = _causal(lengths_B, q_BHqTD.shape[2], k_BHSD.shape[2])
    if scale is None:
        scale = 1 / math.sqrt(q_BHqTD.shape[3])
    return _attend(q_BHqTD, k_BHSD, v_BHSD, seen_BTS, scale)


def _rotate(x_BHTD: Tensor, start: int, base: float) -> Tensor:
    T, D = x_BHTD.shape[2:]
    pairs = torch.arange(D // 2, dtype=torch.float64, device=x_BHTD.device)
    positions = torch.arange(start, start + T, dtype=torch.float64, device=x_BHTD.device)
    angles_TD = positions[:, None] * base ** (-2 * pairs / D)
    cos, sin = angles_TD.cos().to(x_BHTD.dtype), angles_TD.sin().to(x_BHTD.dtype)
    low, high = x_BHTD.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


def _step(
    model: "TinyModel", tokens_BT: Tensor, layers: list[tuple[Tensor, Tensor]], start: int
) -> Tensor:
    """Run the model over tokens at positions from `start` on; return the last one's logits."""
    rows, count = tokens_BT.shape
    end = start + count
    seen = _causal(torch.full((rows,), end, device=tokens_BT.device), count, end)
    x = model.embed(tokens_BT)
    for layer, (keys, values) in enumerate(layers):
        q, k, v = model.qkv(layer, x)
        keys[:, :, start:end] = _rotate(k, start, model.rope_base)
        values[:, :, start:end] = v
        q = _rotate(q, start, model.rope_base)
        scale = 1 / math.sqrt(model.head_dim)
        attended = _attend(q, keys[:, :, :end], values[:, :, :end], seen, scale)
        x = model.finish(layer, x, attended)
    return model.logits(x[:, -1:])[:, 0]


def _choose(z_BV: Tensor, temperature: float, uniforms_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the next token of each row and its log-probability."""
    if temperature == 0 or uniforms_B is None:
        logp = torch.log_softmax(z_BV.float(), dim=-1)
        chosen = z_BV.argmax(dim=-1)
    else:
        logp = torch.log_softmax(z_BV.float() / temperature, dim=-1)
        cumulative = logp.double().exp().cumsum(dim=-1)
        chosen = (cumulative <= uniforms_B.double()[:, None]).sum(dim=-1)
        chosen = chosen.clamp(max=z_BV.shape[1] - 1)
    return chosen, logp.gather(1, chosen[:, None])[:, 0]


def _require_generate(
    model: "TinyModel", prompt: Tensor, count: int, temperature: float, uniforms: Tensor | None
) -> None:
    _require(prompt.dim() == 2 and prompt.dtype == torch.int64, "the prompt must be int64 [B, T]")
    _require(prompt.shape[0] >= 1 and prompt.shape[1] >= 1, "the prompt is empty")
    inside = bool(((prompt >= 0) & (prompt < model.vocab_size)).all())
    _require(inside, "the prompt holds an id outside the vocabulary")
    _require(count >= 0, f"max_new_tokens must not be negative, got {count}")
    _require(temperature >= 0, f"temperature must not be negative, got {temperature}")
    if temperature > 0:
        shape = (prompt.shape[0], count)
        given = uniforms is not None and tuple(uniforms.shape) == shape
        _require(given, f"sampling needs uniforms of shape {shape}")


@torch.no_grad()
def generate(
    model: "TinyModel",
    prompt_BT: Tensor,
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    uniforms_BN: Tensor | None = None,
    eos_id: int | None = None,
) -> tuple[Tensor, Tensor]:
    _require_generate(model, prompt_BT, max_new_tokens, temperature, uniforms_BN)
    (B, T), device = prompt_BT.shape, prompt_BT.device
    fill = 0 if eos_id is None else eos_id
    tokens = torch.full((B, max_new_tokens), fill, dtype=torch.int64, device=device)
    logprobs = torch.zeros((B, max_new_tokens), device=device)
    if max_new_tokens == 0:
        return tokens, logprobs
    shape = (2, B, model.n_kv_heads, T + max_new_tokens - 1, model.head_dim)
    layers = [tuple(torch.empty(shape, device=device)) for _ in range(model.n_layers)]
    for start in range(0, T, model.max_tokens):
        z = _step(model, prompt_BT[:, start : start + model.max_tokens], layers, start)
    ended = torch.zeros(B, dtype=torch.bool, device=device)
    for n in range(max_new_tokens):
        uniforms = None if uniforms_BN is None else uniforms_BN[:, n]
        chosen, logp = _choose(z, temperature, uniforms)
        tokens[:, n] = torch.where(ended, fill, chosen)
        logprobs[:, n] = torch.where(ended, 0.0, logp)
        ended |= tokens[:, n] == (-1 if eos_id is None else eos_id)
        if n == max_new_tokens - 1 or bool(ended.all()):
            break
        z = _step(model, tokens[:, n : n + 1], layers, T + n)
    return tokens, logprobs


class SlidingWindowCache:
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
        _require_sizes(batch_size=batch_size, n_kv_heads=n_kv_heads, head_dim=head_dim)
        _require_sizes(window=window)
        _require(n_sinks >= 0, f"n_sinks must not be negative, got {n_sinks}")
        self._sizes = (batch_size, n_kv_heads, head_dim)
        self._window, self._sinks = window, n_sinks
        self._dtype = dtype
        self._length = 0
        shape = (2, batch_size, n_kv_heads, n_sinks + window, head_dim)
        self._kv = torch.empty(shape, dtype=dtype, device=device)

    @property
    def length(self) -> int:
        return self._length

    def _slots(self, first: int, last: int) -> Tensor:
        """Return the slots of positions `first` … `last - 1`."""
        positions = torch.arange(first, last, device=self._kv.device)
        ring = self._sinks + (positions - self._sinks) % self._window
        return torch.where(positions < self._sinks, positions, ring)

    def append(self, k_BHTD: Tensor, v_BHTD: Tensor) -> None:
        count = _require_chunk(k_BHTD, v_BHTD, self._sizes, self._dtype)
        start, end = self._length, self._length + count
        sinks_end = min(max(self._sinks, start), end)
        ring_start = max(sinks_end, end - self._window)
        # Only the newest `window` tokens are written, so that no slot is written twice.
        for first, last in ((start, sinks_end), (ring_start, end)):
            slots = self._slots(first, last)
            self._kv[0][:, :, slots] = k_BHTD[:, :, first - start : last - start]
            self._kv[1][:, :, slots] = v_BHTD[:, :, first - start : last - start]
        self._length = end

    def _used(self) -> int:
        return min(self._length, self._sinks + self._window)

    def keys(self) -> Tensor:
        return self._kv[0, :, :, : self._used()]

    def values(self) -> Tensor:
        return self._kv[1, :, :, : self._used()]

    def positions(self) -> Tensor:
        slots = torch.arange(self._used(), device=self._kv.device)
        turns = (self._length - 1 - slots).div(self._window, rounding_mode="floor")
        return torch.where(slots < self._sinks, slots, slots + turns * self._window)

    def mask(self, n_queries: int) -> Tensor:
        _require(1 <= n_queries <= self._length, f"{n_queries} queries of {self._length} tokens")
        own = torch.arange(self._length - n_queries, self._length, device=self._kv.device)[:, None]
        return self.positions() <= own

    def truncate(self, length: int) -> None:
        _require(0 <= length <= self._length, f"cannot keep {length} of {self._length} tokens")
        overwritten = self._length > self._sinks + self._window
        lossless = not overwritten or length == self._length or length <= self._sinks
        _require(lossless, f"tokens that length {length} needs have been overwritten")
        self._length = length


class SlotCache:
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
        _require_sizes(n_slots=n_slots, max_length=max_length)
        _require_sizes(n_kv_heads=n_kv_heads, head_dim=head_dim)
        self._dtype = dtype
        shape = (2, n_slots, n_kv_heads, max_length, head_dim)
        self._kv = torch.zeros(shape, dtype=dtype, device=device)
        self._lengths: dict[int, int] = {}

    @property
    def active(self) -> list[int]:
        return sorted(self._lengths)

    def acquire(self) -> int:
        for slot in range(self._kv.shape[1]):
            if slot not in self._lengths:
                self._lengths[slot] = 0
                return slot
        raise RuntimeError(f"all {self._kv.shape[1]} slots are in use")

    def _require_active(self, slots: list[int]) -> None:
        for slot in slots:
            _require(slot in self._lengths, f"slot {slot} is not in use")

    def release(self, slot: int) -> None:
        self._require_active([slot])
        del self._lengths[slot]

    def append(self, slots: list[int], k_RHTD: Tensor, v_RHTD: Tensor) -> None:
        self._require_active(slots)
        _require(len(set(slots)) == len(slots), f"a slot is named twice: {slots}")
        _, _, heads, room, dim = self._kv.shape
        count = _require_chunk(k_RHTD, v_RHTD, (len(slots), heads, dim), self._dtype)
        for slot in slots:
            _require(self._lengths[slot] + count <= room, f"slot {slot} has room for {room} tokens")
        for row, slot in enumerate(slots):
            start, end = self._lengths[slot], self._lengths[slot] + count
            self._kv[0, slot, :, start:end] = k_RHTD[row]
            self._kv[1, slot, :, start:end] = v_RHTD[row]
            self._lengths[slot] = end

    def gather(self, slots: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        _require(len(slots) >= 1, "no slot is named")
        self._require_active(slots)
        device = self._kv.device
        lengths = torch.tensor([self._lengths[slot] for slot in slots], device=device)
        longest = int(lengths.max())
        both = self._kv[:, slots, :, :longest]
        dead = torch.arange(longest, device=device) >= lengths[:, None]
        both = both.masked_fill(dead[:, None, :, None], 0)
        return both[0], both[1], lengths


def _quantise(x_BHTD: Tensor) -> tuple[Tensor, Tensor]:
    x = x_BHTD.float()
    scales = x.abs().amax(dim=-1) / INT8_MAX
    scales = torch.where(scales > 0, scales, 1.0)
    return (x / scales[..., None]).round().clamp(-INT8_MAX, INT8_MAX).to(torch.int8), scales


class QuantizedKVCache:
    def __init__(
        self,
        batch_size: int,
        n_kv_heads: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        _require_sizes(batch_size=batch_size, n_kv_heads=n_kv_heads, head_dim=head_dim)
        self._sizes = (batch_size, n_kv_heads, head_dim)
        self._dtype = dtype
        self._length = 0
        rows = (2, batch_size, n_kv_heads)
        self._numbers = torch.empty((*rows, 0, head_dim), dtype=torch.int8, device=device)
        self._scales = torch.empty((*rows, 0), device=device)

    @property
    def length(self) -> int:
        return self._length

    def append(self, k_BHTD: Tensor, v_BHTD: Tensor) -> None:
        start = self._length
        end = start + _require_chunk(k_BHTD, v_BHTD, self._sizes, self._dtype)
        if end > self._scales.shape[3]:
            self._grow(max(2 * self._scales.shape[3], end))
        for which, x in enumerate((k_BHTD, v_BHTD)):
            numbers, scales = _quantise(x)
            self._numbers[which, :, :, start:end] = numbers
            self._scales[which, :, :, start:end] = scales
        self._length = end

    def _grow(self, capacity: int) -> None:
        for name in ("_numbers", "_scales"):
            old = getattr(self, name)
            larger = old.new_empty((*old.shape[:3], capacity, *old.shape[4:]))
            larger[:, :, :, : self._length] = old[:, :, :, : self._length]
            setattr(self, name, larger)

    def packed_keys(self) -> tuple[Tensor, Tensor]:
        return self._packed(0)

    def packed_values(self) -> tuple[Tensor, Tensor]:
        return self._packed(1)

    def _packed(self, which: int) -> tuple[Tensor, Tensor]:
        stored = slice(0, self._length)
        return self._numbers[which, :, :, stored], self._scales[which, :, :, stored]

    def keys(self) -> Tensor:
        return self._dequantised(0, 0, self._length).to(self._dtype)

    def values(self) -> Tensor:
        return self._dequantised(1, 0, self._length).to(self._dtype)

    def _dequantised(self, which: int, start: int, end: int) -> Tensor:
        numbers = self._numbers[which, :, :, start:end]
        return numbers * self._scales[which, :, :, start:end, None]

    def attend(self, q_BHqTD: Tensor) -> Tensor:
        self._require_queries(q_BHqTD)
        B, Hq, T, D = q_BHqTD.shape
        H = self._sizes[1]
        q = q_BHqTD.float().reshape(B, H, Hq // H, T, D) / math.sqrt(D)
        peak = q.new_full((B, H, Hq // H, T, 1), -math.inf)
        total, out = torch.zeros_like(peak), torch.zeros_like(q)
        own = torch.arange(self._length - T, self._length, device=q.device)[:, None]
        # One block at a time, merged by its running maximum: the cache is never float as a whole.
        for start, end in self._blocks():
            seen = torch.arange(start, end, device=q.device) <= own
            keys, values = (self._dequantised(which, start, end)[:, :, None] for which in (0, 1))
            scores = (q @ keys.transpose(3, 4)).masked_fill(~seen, -math.inf)
            new_peak = torch.maximum(peak, scores.amax(dim=-1, keepdim=True))
            weights, shrink = torch.exp(scores - new_peak), torch.exp(peak - new_peak)
            total = total * shrink + weights.sum(dim=-1, keepdim=True)
            out = out * shrink + weights @ values
            peak = new_peak
        return (out / total).reshape(B, Hq, T, D).to(q_BHqTD.dtype)

    def _blocks(self) -> Iterator[tuple[int, int]]:
        for start in range(0, self._length, BLOCK_TOKENS):
            yield start, min(start + BLOCK_TOKENS, self._length)

    def _require_queries(self, q: Tensor) -> None:
        rows, heads, dim = self._sizes
        _require(q.dim() == 4, f"q must have 4 dimensions, got shape {tuple(q.shape)}")
        _require((q.shape[0], q.shape[3]) == (rows, dim), f"q has shape {tuple(q.shape)}")
        _require(q.dtype == self._dtype, f"q must be {self._dtype}, got {q.dtype}")
        _require(q.shape[1] >= 1 and q.shape[1] % heads == 0, f"{q.shape[1]} query heads")
        _require(1 <= q.shape[2] <= self._length, f"{q.shape[2]} queries of {self._length} tokens")


def _require_config(config: "CacheConfig") -> None:
    heads, kv_heads = config.n_query_heads, config.n_kv_heads
    _require_sizes(n_layers=config.n_layers, n_query_heads=heads, n_kv_heads=kv_heads)
    _require_sizes(head_dim=config.head_dim)
    _require(heads % kv_heads == 0, f"{heads} query heads cannot share {kv_heads} heads")
    _require(config.window >= 0 and config.n_sinks >= 0, "window and n_sinks must not be negative")
    windowed = config.n_window_layers
    _require(0 <= windowed <= config.n_layers, f"{windowed} window layers of {config.n_layers}")
    _require(windowed == 0 or config.window > 0, "window layers need a window")


def kv_bytes(config: "CacheConfig", *, batch_size: int, length: int) -> int:
    _require_config(config)
    _require(batch_size >= 0, f"batch_size must not be negative, got {batch_size}")
    _require(length >= 0, f"length must not be negative, got {length}")
    windowed = config.n_window_layers
    short = min(length, config.n_sinks + config.window)
    tokens = (config.n_layers - windowed) * length + windowed * short
    vector_bytes = config.head_dim * config.dtype.itemsize
    if config.dtype == torch.int8:
        vector_bytes += torch.float32.itemsize
    return 2 * batch_size * config.n_kv_heads * tokens * vector_bytes


def largest_batch(config: "CacheConfig", *, length: int, budget_bytes: int) -> int:
    _require(budget_bytes >= 0, f"budget_bytes must not be negative, got {budget_bytes}")
    _require(length != 0, "sequences of length 0 take no room: any number fits")
    return budget_bytes // kv_bytes(config, batch_size=1, length=length)
