"""Small dataclasses carry sizes, buffers and checks; the classes only put them together."""

import math
from dataclasses import dataclass, field

import torch

Tensor = torch.Tensor


@dataclass(frozen=True)
class Layout:
    batch: int
    heads: int
    dim: int
    dtype: torch.dtype
    device: str

    def __post_init__(self):
        for name in ("batch", "heads", "dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")

    def tokens_of(self, k: Tensor, v: Tensor, batch: int | None = None) -> int:
        batch = self.batch if batch is None else batch
        for x in (k, v):
            if x.ndim != 4:
                raise ValueError("chunks have four dimensions")
            b, h, _, d = x.shape
            if (b, h, d) != (batch, self.heads, self.dim):
                raise ValueError("chunk does not fit")
            if x.dtype != self.dtype:
                raise ValueError("chunk has the wrong dtype")
        if k.shape[2] != v.shape[2]:
            raise ValueError("keys and values differ in length")
        return k.shape[2]


@dataclass
class Growing:
    """A buffer [B, H, room, ...] of which the first `used` tokens count."""

    data: Tensor
    used: int = 0

    @property
    def room(self) -> int:
        return self.data.shape[2]

    def reserve(self, extra: int) -> None:
        needed = self.used + extra
        if needed <= self.room:
            return
        shape = (*self.data.shape[:2], max(2 * self.room, needed), *self.data.shape[3:])
        bigger = torch.empty(shape, dtype=self.data.dtype, device=self.data.device)
        bigger[:, :, : self.used] = self.live
        self.data = bigger

    def push(self, x: Tensor) -> None:
        self.reserve(x.shape[2])
        self.data[:, :, self.used : self.used + x.shape[2]] = x
        self.used += x.shape[2]

    @property
    def live(self) -> Tensor:
        return self.data[:, :, : self.used]


class KVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0,
                 device="cpu"):
        self._layout = Layout(batch_size, n_kv_heads, head_dim, dtype, device)
        if capacity < 0:
            raise ValueError("capacity must not be negative")
        shape = (batch_size, n_kv_heads, capacity, head_dim)
        self._k = Growing(torch.empty(shape, dtype=dtype, device=device))
        self._v = Growing(torch.empty(shape, dtype=dtype, device=device))

    @property
    def length(self):
        return self._k.used

    @property
    def capacity(self):
        return self._k.room

    def append(self, k_BHTD, v_BHTD):
        self._layout.tokens_of(k_BHTD, v_BHTD)
        self._k.push(k_BHTD)
        self._v.push(v_BHTD)

    def keys(self):
        return self._k.live

    def values(self):
        return self._v.live

    def truncate(self, length):
        if not 0 <= length <= self.length:
            raise ValueError("length out of range")
        self._k.used = self._v.used = length


@dataclass(frozen=True)
class Problem:
    """Attention of one call, sizes checked."""

    q: Tensor
    k: Tensor
    v: Tensor
    lengths: Tensor

    def __post_init__(self):
        if self.q.ndim != 4 or self.k.ndim != 4 or self.v.ndim != 4 or self.lengths.ndim != 1:
            raise ValueError("rank")
        B, Hq, T, D = self.q.shape
        _, H, S, _ = self.k.shape
        if tuple(self.k.shape) != (B, H, S, D) or self.k.shape != self.v.shape:
            raise ValueError("shape")
        if len(self.lengths) != B or T < 1 or H < 1 or Hq % H:
            raise ValueError("size")
        if self.q.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise ValueError("dtype")
        if self.k.dtype != self.q.dtype or self.v.dtype != self.q.dtype:
            raise ValueError("dtype")
        if self.lengths.dtype != torch.int64:
            raise ValueError("lengths must be int64")
        if B and not (0 <= int(self.lengths.min()) and int(self.lengths.max()) <= S):
            raise ValueError("length out of range")

    def row(self, b: int, scale: float) -> Tensor:
        n = int(self.lengths[b])
        Hq, T, D = self.q.shape[1:]
        H = self.k.shape[1]
        q = self.q[b].float().view(H, -1, T, D) if self.q[b].is_contiguous() else (
            self.q[b].float().reshape(H, -1, T, D))
        k, v = self.k[b, :, :n].float(), self.v[b, :, :n].float()
        own = torch.arange(n - T, n, device=q.device)
        see = torch.arange(n, device=q.device)[None] <= own[:, None]
        scores = (q.flatten(1, 2) @ k.transpose(1, 2)).view(H, -1, T, n) * scale
        scores = scores.masked_fill(~see, -math.inf)
        w = torch.nan_to_num(scores.softmax(-1), nan=0.0)
        return (w.flatten(1, 2) @ v).view(Hq, T, D)


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    problem = Problem(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    out = torch.zeros(q_BHqTD.shape, dtype=q_BHqTD.dtype, device=q_BHqTD.device)
    scale = q_BHqTD.shape[-1] ** -0.5 if scale is None else scale
    for b in range(len(out)):
        if lengths_B[b] > 0:
            out[b] = problem.row(b, scale).to(out.dtype)
    return out


@dataclass
class Rotation:
    dim: int
    base: float

    def __call__(self, x: Tensor, start: int) -> Tensor:
        i = torch.arange(self.dim // 2, dtype=torch.float64, device=x.device)
        p = torch.arange(start, start + x.shape[2], dtype=torch.float64, device=x.device)
        a = p[:, None] * self.base ** (-2 * i / self.dim)
        cos = torch.cat([a, a], -1).cos().float()
        sin = torch.cat([a, a], -1).sin().float()
        half = torch.cat([-x[..., self.dim // 2 :], x[..., : self.dim // 2]], -1)
        return x * cos + half * sin


@dataclass
class Decoder:
    model: object
    caches: list = field(default_factory=list)

    def feed(self, ids: Tensor) -> Tensor:
        m = self.model
        if not self.caches:
            self.caches = [KVCache(len(ids), m.n_kv_heads, m.head_dim, device=ids.device)
                           for _ in range(m.n_layers)]
        turn = Rotation(m.head_dim, m.rope_base)
        x = m.embed(ids)
        for layer, cache in enumerate(self.caches):
            start = cache.length
            q, k, v = m.qkv(layer, x)
            cache.append(turn(k, start), v)
            lengths = torch.full((len(ids),), cache.length, dtype=torch.int64, device=ids.device)
            x = m.finish(layer, x, decode_attention(turn(q, start), cache.keys(), cache.values(),
                                                    lengths))
        return m.logits(x[:, -1:])[:, 0]


@dataclass
class Chooser:
    temperature: float
    uniforms: Tensor | None

    def __call__(self, z: Tensor, n: int) -> tuple[Tensor, Tensor]:
        if self.temperature == 0:
            logp = torch.log_softmax(z, -1)
            ids = z.argmax(-1)
        else:
            logp = torch.log_softmax(z / self.temperature, -1)
            below = logp.double().exp().cumsum(-1) <= self.uniforms[:, n, None].double()
            ids = below.sum(-1).clamp_max(z.shape[-1] - 1)
        return ids, logp[torch.arange(len(z), device=z.device), ids]


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    if prompt_BT.ndim != 2 or prompt_BT.dtype != torch.int64 or not prompt_BT.numel():
        raise ValueError("prompt must be int64 [B, T] and not empty")
    if prompt_BT.min() < 0 or prompt_BT.max() >= model.vocab_size:
        raise ValueError("prompt holds an id outside the vocabulary")
    if max_new_tokens < 0 or temperature < 0:
        raise ValueError("max_new_tokens or temperature is negative")
    shape = (prompt_BT.shape[0], max_new_tokens)
    if temperature > 0 and (uniforms_BN is None or tuple(uniforms_BN.shape) != shape):
        raise ValueError("uniforms_BN must be [B, N]")
    tokens = torch.full(shape, 0 if eos_id is None else eos_id, dtype=torch.int64,
                        device=prompt_BT.device)
    logprobs = torch.zeros(shape, dtype=torch.float32, device=prompt_BT.device)
    decoder, choose = Decoder(model), Chooser(temperature, uniforms_BN)
    alive = torch.ones(shape[0], dtype=torch.bool, device=prompt_BT.device)
    z = None
    for n in range(max_new_tokens):
        if n == 0:
            for start in range(0, prompt_BT.shape[1], model.max_tokens):
                z = decoder.feed(prompt_BT[:, start : start + model.max_tokens])
        else:
            z = decoder.feed(ids[:, None])
        ids, lp = choose(z, n)
        tokens[alive, n] = ids[alive]
        logprobs[alive, n] = lp[alive]
        if eos_id is not None:
            alive &= ids != eos_id
        if not alive.any():
            break
    return tokens, logprobs


@dataclass
class Ring:
    sinks: int
    window: int
    seen: int = 0

    def slot(self, p: int) -> int:
        return p if p < self.sinks else self.sinks + (p - self.sinks) % self.window

    def held(self, length: int) -> set[int]:
        return {*range(min(self.sinks, length)),
                *range(max(self.sinks, length - self.window), length)}

    def by_slot(self) -> list[int]:
        return sorted(self.held(self.seen), key=self.slot)


class SlidingWindowCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, window, n_sinks=0,
                 dtype=torch.float32, device="cpu"):
        self._layout = Layout(batch_size, n_kv_heads, head_dim, dtype, device)
        if window < 1 or n_sinks < 0:
            raise ValueError("window must be at least 1, n_sinks at least 0")
        self._ring = Ring(n_sinks, window)
        shape = (batch_size, n_kv_heads, n_sinks + window, head_dim)
        self._k = torch.zeros(shape, dtype=dtype, device=device)
        self._v = torch.zeros(shape, dtype=dtype, device=device)

    @property
    def length(self):
        return self._ring.seen

    def append(self, k_BHTD, v_BHTD):
        t = self._layout.tokens_of(k_BHTD, v_BHTD)
        start = self._ring.seen
        self._ring.seen += t
        new = [p for p in sorted(self._ring.held(start + t)) if p >= start]
        slots = [self._ring.slot(p) for p in new]
        from_chunk = [p - start for p in new]
        if new:
            self._k[:, :, slots] = k_BHTD[:, :, from_chunk]
            self._v[:, :, slots] = v_BHTD[:, :, from_chunk]

    def keys(self):
        return self._k[:, :, : len(self._ring.by_slot())].clone()

    def values(self):
        return self._v[:, :, : len(self._ring.by_slot())].clone()

    def positions(self):
        return torch.tensor(self._ring.by_slot(), dtype=torch.int64, device=self._k.device)

    def mask(self, n_queries):
        if not 1 <= n_queries <= self.length:
            raise ValueError("n_queries out of range")
        held = self._ring.by_slot()
        rows = [[p <= own for p in held] for own in range(self.length - n_queries, self.length)]
        return torch.tensor(rows, dtype=torch.bool, device=self._k.device)

    def truncate(self, length):
        if not 0 <= length <= self.length:
            raise ValueError("length out of range")
        if not self._ring.held(length) <= self._ring.held(self.length):
            raise ValueError("a token has been overwritten")
        self._ring.seen = length


@dataclass
class Slot:
    k: Tensor
    v: Tensor
    length: int = 0


class SlotCache:
    """A slot's memory is allocated when it is acquired and dropped when it is released."""

    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        self._layout = Layout(1, n_kv_heads, head_dim, dtype, device)
        if n_slots < 1 or max_length < 1:
            raise ValueError("n_slots and max_length must be at least 1")
        self._n, self._max = n_slots, max_length
        self._slots: dict[int, Slot] = {}

    @property
    def active(self):
        return sorted(self._slots)

    def acquire(self):
        for i in range(self._n):
            if i not in self._slots:
                o = self._layout
                shape = (o.heads, self._max, o.dim)
                self._slots[i] = Slot(torch.zeros(shape, dtype=o.dtype, device=o.device),
                                      torch.zeros(shape, dtype=o.dtype, device=o.device))
                return i
        raise RuntimeError("all slots are in use")

    def _get(self, slot):
        if slot not in self._slots:
            raise ValueError(f"slot {slot} is not in use")
        return self._slots[slot]

    def release(self, slot):
        self._get(slot)
        del self._slots[slot]

    def append(self, slots, k_RHTD, v_RHTD):
        t = self._layout.tokens_of(k_RHTD, v_RHTD, batch=len(slots))
        targets = [self._get(s) for s in slots]
        if len(set(slots)) != len(slots):
            raise ValueError("a slot is named twice")
        if any(x.length + t > self._max for x in targets):
            raise ValueError("a slot would exceed max_length")
        for x, k, v in zip(targets, k_RHTD, v_RHTD):
            x.k[:, x.length : x.length + t] = k
            x.v[:, x.length : x.length + t] = v
            x.length += t

    def gather(self, slots):
        targets = [self._get(s) for s in slots]
        if not targets:
            raise ValueError("no slot is named")
        S = max(x.length for x in targets)
        # Behind a slot's length there are zeros: a slot is never rewound.
        k = torch.stack([x.k[:, :S] for x in targets])
        v = torch.stack([x.v[:, :S] for x in targets])
        return k, v, torch.tensor([x.length for x in targets], device=self._layout.device)


@dataclass
class Packed:
    q: Growing
    s: Growing

    def push(self, x: Tensor) -> None:
        x = x.float()
        largest = x.abs().amax(-1)
        s = (largest / 127).masked_fill(largest == 0, 1.0)
        s = s.masked_fill(s == 0, 1.0)
        self.q.push((x / s[..., None]).round().clamp(-127, 127).to(torch.int8))
        self.s.push(s)

    def floats(self, lo: int = 0, hi: int | None = None) -> Tensor:
        return self.q.live[:, :, lo:hi].float() * self.s.live[:, :, lo:hi, None]


class QuantizedKVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        self._layout = Layout(batch_size, n_kv_heads, head_dim, dtype, device)

        def empty():
            return Packed(
                Growing(torch.empty((batch_size, n_kv_heads, 0, head_dim), dtype=torch.int8,
                                    device=device)),
                Growing(torch.empty((batch_size, n_kv_heads, 0), device=device)))

        self._k, self._v = empty(), empty()

    @property
    def length(self):
        return self._k.q.used

    def append(self, k_BHTD, v_BHTD):
        self._layout.tokens_of(k_BHTD, v_BHTD)
        self._k.push(k_BHTD)
        self._v.push(v_BHTD)

    def packed_keys(self):
        return self._k.q.live, self._k.s.live

    def packed_values(self):
        return self._v.q.live, self._v.s.live

    def keys(self):
        return self._k.floats().to(self._layout.dtype)

    def values(self):
        return self._v.floats().to(self._layout.dtype)

    def attend(self, q_BHqTD):
        o, n = self._layout, self.length
        if q_BHqTD.ndim != 4 or q_BHqTD.dtype != o.dtype:
            raise ValueError("q must be [B, Hq, T, D] with the cache's dtype")
        B, Hq, T, D = q_BHqTD.shape
        if (B, D) != (o.batch, o.dim) or Hq % o.heads or not 1 <= T <= n:
            raise ValueError("q does not fit")
        G = Hq // o.heads
        out = torch.empty((B, Hq, T, D), dtype=o.dtype, device=q_BHqTD.device)
        late = (torch.arange(n, device=out.device)
                > torch.arange(n - T, n, device=out.device)[:, None]).repeat(G, 1)
        for b in range(B):
            for h in range(o.heads):
                q = q_BHqTD[b, h * G : (h + 1) * G].float().flatten(0, 1)
                score = torch.cat([
                    q @ self._k.floats(a, min(n, a + 1024))[b, h].T for a in range(0, n, 1024)
                ], 1) if o.batch * o.heads == 1 else self._scores(q, b, h)
                w = (score / math.sqrt(D)).masked_fill(late, -math.inf).softmax(-1)
                w = w * self._v.s.live[b, h]
                acc = sum(w[:, a : a + 1024] @ self._v.q.live[b, h, a : a + 1024].float()
                          for a in range(0, n, 1024))
                out[b, h * G : (h + 1) * G] = acc.view(G, T, D).to(o.dtype)
        return out

    def _scores(self, q, b, h):
        live, scale = self._k.q.live[b, h], self._k.s.live[b, h]
        return torch.cat([q @ part.float().T for part in live.split(1024)], 1) * scale


@dataclass(frozen=True)
class Bill:
    layers_full: int
    layers_short: int
    vectors_per_token: int
    bytes_per_vector: int
    kept_short: int

    @classmethod
    def of(cls, c):
        if min(c.n_layers, c.n_query_heads, c.n_kv_heads, c.head_dim) < 1:
            raise ValueError("size below 1")
        if c.window < 0 or c.n_sinks < 0:
            raise ValueError("negative window or n_sinks")
        if c.n_query_heads % c.n_kv_heads:
            raise ValueError("heads")
        if not 0 <= c.n_window_layers <= c.n_layers:
            raise ValueError("n_window_layers")
        if c.n_window_layers and c.window == 0:
            raise ValueError("window is 0")
        per = c.head_dim * c.dtype.itemsize + (4 if c.dtype == torch.int8 else 0)
        return cls(c.n_layers - c.n_window_layers, c.n_window_layers, 2 * c.n_kv_heads, per,
                   c.n_sinks + c.window)

    def total(self, length: int) -> int:
        tokens = self.layers_full * length + self.layers_short * min(length, self.kept_short)
        return tokens * self.vectors_per_token * self.bytes_per_vector


def kv_bytes(config, *, batch_size, length):
    bill = Bill.of(config)
    if batch_size < 0 or length < 0:
        raise ValueError("negative batch_size or length")
    return batch_size * bill.total(length)


def largest_batch(config, *, length, budget_bytes):
    bill = Bill.of(config)
    if length < 1 or budget_bytes < 0:
        raise ValueError("length below 1 or negative budget")
    return budget_bytes // bill.total(length)
