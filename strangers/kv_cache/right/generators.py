"""Generator style: tokens, tiles, runs and steps are yielded, consumers stay short."""

import math
from collections import deque

import torch

Tensor = torch.Tensor


def _problems_of_chunk(k, v, sizes, dtype):
    for name, x in (("keys", k), ("values", v)):
        if x.ndim != 4:
            yield f"{name} must have four dimensions"
        elif (x.shape[0], x.shape[1], x.shape[3]) != sizes:
            yield f"{name} of shape {tuple(x.shape)} do not fit {sizes}"
        if x.dtype != dtype:
            yield f"{name} must be {dtype}"
    if k.ndim == v.ndim == 4 and k.shape[2] != v.shape[2]:
        yield "keys and values differ in T"


def _raise_first(problems):
    for problem in problems:
        raise ValueError(problem)


def _too_small(minimum, **sizes):
    return (f"{name} is {size}, must be at least {minimum}"
            for name, size in sizes.items() if size < minimum)


class KVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0,
                 device="cpu"):
        _raise_first(_too_small(1, batch_size=batch_size, n_kv_heads=n_kv_heads, head_dim=head_dim))
        _raise_first(_too_small(0, capacity=capacity))
        self._sizes, self._dtype, self._device = (batch_size, n_kv_heads, head_dim), dtype, device
        self._buffers = tuple(self._allocate(capacity) for _ in "kv")
        self._length = 0

    def _allocate(self, room):
        b, h, d = self._sizes
        # Heads next to each other per row, tokens innermost but one.
        return torch.empty(h, b, room, d, dtype=self._dtype, device=self._device).transpose(0, 1)

    @property
    def length(self):
        return self._length

    @property
    def capacity(self):
        return self._buffers[0].shape[2]

    def _with_room_for(self, needed):
        room = self.capacity if needed <= self.capacity else max(2 * self.capacity, needed)
        for old in self._buffers:
            if room == self.capacity:
                yield old
            else:
                new = self._allocate(room)
                new[:, :, : self._length] = old[:, :, : self._length]
                yield new

    def append(self, k_BHTD, v_BHTD):
        _raise_first(_problems_of_chunk(k_BHTD, v_BHTD, self._sizes, self._dtype))
        stop = self._length + k_BHTD.shape[2]
        self._buffers = tuple(self._with_room_for(stop))
        for buffer, x in zip(self._buffers, (k_BHTD, v_BHTD)):
            buffer[:, :, self._length : stop].copy_(x)
        self._length = stop

    def keys(self):
        return self._buffers[0][:, :, : self._length]

    def values(self):
        return self._buffers[1][:, :, : self._length]

    def truncate(self, length):
        if not 0 <= length <= self._length:
            raise ValueError(f"cannot go back to {length}")
        self._length = length


def _problems_of_attention(q, k, v, lengths):
    for name, x, rank in (("q", q, 4), ("k", k, 4), ("v", v, 4), ("lengths", lengths, 1)):
        if x.ndim != rank:
            yield f"{name} must have {rank} dimensions"
    if q.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        yield f"q is {q.dtype}"
    for x in (k, v):
        if x.dtype != q.dtype:
            yield "keys and values must have the dtype of q"
    if lengths.dtype != torch.int64:
        yield "lengths must be int64"
    if q.shape[2] < 1:
        yield "T must be at least 1"
    if k.shape[0] != q.shape[0] or k.shape[3] != q.shape[3]:
        yield "keys do not fit the queries"
    if v.shape != k.shape:
        yield "values do not fit the keys"
    if k.shape[1] < 1 or q.shape[1] % k.shape[1]:
        yield "Hq must be a multiple of H"
    if lengths.shape[0] != q.shape[0]:
        yield "one length per row"
    for n in lengths.tolist():
        if not 0 <= n <= k.shape[2]:
            yield f"length {n} outside 0 ... {k.shape[2]}"


def _visible(n, T):
    """For each query: how many positions it sees."""
    for t in range(T):
        yield max(0, n - T + t + 1)


def _heads(q, k, v, lengths):
    """Yield (row, head, queries [G, T, D], keys [n, D], values [n, D]) without dead tokens."""
    H = k.shape[1]
    G = q.shape[1] // H
    for b, n in enumerate(lengths.tolist()):
        for h in range(H):
            group = slice(h * G, (h + 1) * G)
            yield b, group, q[b, group].float(), k[b, h, :n].float(), v[b, h, :n].float()


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _raise_first(_problems_of_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B))
    if scale is None:
        scale = 1 / math.sqrt(q_BHqTD.shape[3])
    out = torch.zeros(q_BHqTD.shape, dtype=q_BHqTD.dtype, device=q_BHqTD.device)
    for b, group, q, k, v in _heads(q_BHqTD, k_BHSD, v_BHSD, lengths_B):
        for t, seen in enumerate(_visible(len(k), q.shape[1])):
            if seen:
                w = torch.softmax(q[:, t] @ k[:seen].T * scale, dim=-1)
                out[b, group, t] = (w @ v[:seen]).to(out.dtype)
    return out


def _angles(D, base, device):
    """Yield (cos, sin) of one position after another, for ever."""
    theta = torch.tensor([base ** (-2 * i / D) for i in range(D // 2)], dtype=torch.float64,
                         device=device)
    position = 0
    while True:
        yield (position * theta).cos().float(), (position * theta).sin().float()
        position += 1


def _rotated(x, table):
    cos = torch.stack([c for c, _ in table])
    sin = torch.stack([s for _, s in table])
    a, b = x.tensor_split(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def _decoder(model, B, room, device):
    """Coroutine: send token ids [B, T], get the logits of the last one."""
    caches = [KVCache(B, model.n_kv_heads, model.head_dim, capacity=room, device=device)
              for _ in range(model.n_layers)]
    angles = _angles(model.head_dim, model.rope_base, device)
    z = None
    while True:
        ids = yield z
        table = [next(angles) for _ in range(ids.shape[1])]
        x = model.embed(ids)
        for layer, cache in enumerate(caches):
            q, k, v = model.qkv(layer, x)
            cache.append(_rotated(k, table), v)
            n, T, H = cache.length, ids.shape[1], model.n_kv_heads
            q = _rotated(q, table).unflatten(1, (H, model.n_heads // H))
            s = torch.einsum("bhgtd,bhsd->bhgts", q, cache.keys()) / math.sqrt(model.head_dim)
            seen = torch.tensor(list(_visible(n, T)), device=device)
            s = s.masked_fill(torch.arange(n, device=device) >= seen[:, None], -math.inf)
            att = torch.einsum("bhgts,bhsd->bhgtd", s.softmax(-1), cache.values())
            x = model.finish(layer, x, att.flatten(1, 2))
        z = model.logits(x[:, -1:])[:, 0]


def _choices(z, n, temperature, uniforms):
    """Yield (id, log p) of each row."""
    for b, row in enumerate(z):
        if temperature == 0:
            logp = row.log_softmax(-1)
            pick = int(row.argmax())
        else:
            logp = (row / temperature).log_softmax(-1)
            cum = logp.double().exp().cumsum(-1)
            u = uniforms[b, n].item()
            pick = next((i for i, c in enumerate(cum.tolist()) if c > u), len(row) - 1)
        yield pick, float(logp[pick])


def _steps(model, prompt, N, temperature, uniforms, eos_id):
    """Yield (ids, logprobs) of each step as lists."""
    B, T = prompt.shape
    decoder = _decoder(model, B, T + N, prompt.device)
    next(decoder)
    for chunk in prompt.split(model.max_tokens, dim=1):
        z = decoder.send(chunk)
    alive = [True] * B
    for n in range(N):
        ids, logprobs = [], []
        for b, (pick, lp) in enumerate(_choices(z, n, temperature, uniforms)):
            ids.append(pick if alive[b] else eos_id)
            logprobs.append(lp if alive[b] else 0.0)
            if pick == eos_id:
                alive[b] = False
        yield ids, logprobs
        if n + 1 < N:
            z = decoder.send(torch.tensor(
                [[i if a else 0] for i, a in zip(ids, alive)], device=prompt.device))


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    def problems():
        if prompt_BT.ndim != 2 or prompt_BT.dtype != torch.int64:
            yield "the prompt must be int64 [B, T]"
        if prompt_BT.numel() == 0:
            yield "the prompt is empty"
        if prompt_BT.min() < 0 or prompt_BT.max() >= model.vocab_size:
            yield "the prompt holds an unknown id"
        if max_new_tokens < 0 or temperature < 0:
            yield "negative max_new_tokens or temperature"
        if temperature > 0:
            if uniforms_BN is None:
                yield "sampling needs uniforms"
            if tuple(uniforms_BN.shape) != (prompt_BT.shape[0], max_new_tokens):
                yield "uniforms must be [B, N]"

    _raise_first(problems())
    B = prompt_BT.shape[0]
    tokens = torch.empty(B, max_new_tokens, dtype=torch.int64, device=prompt_BT.device)
    logprobs = torch.empty(B, max_new_tokens, dtype=torch.float32, device=prompt_BT.device)
    if max_new_tokens:
        steps = _steps(model, prompt_BT, max_new_tokens, temperature, uniforms_BN, eos_id)
        for n, (ids, lps) in enumerate(steps):
            tokens[:, n] = torch.tensor(ids)
            logprobs[:, n] = torch.tensor(lps)
    return tokens, logprobs


class SlidingWindowCache:
    """Sinks in a list, the ring in a deque of (position, key, value); slots only when asked."""

    def __init__(self, batch_size, n_kv_heads, head_dim, *, window, n_sinks=0,
                 dtype=torch.float32, device="cpu"):
        _raise_first(_too_small(1, batch_size=batch_size, n_kv_heads=n_kv_heads,
                                head_dim=head_dim, window=window))
        _raise_first(_too_small(0, n_sinks=n_sinks))
        self._sizes, self._dtype, self._device = (batch_size, n_kv_heads, head_dim), dtype, device
        self._window, self._n_sinks, self._length = window, n_sinks, 0
        self._sinks, self._ring = [], deque(maxlen=window)

    @property
    def length(self):
        return self._length

    def append(self, k_BHTD, v_BHTD):
        _raise_first(_problems_of_chunk(k_BHTD, v_BHTD, self._sizes, self._dtype))
        for k, v in zip(k_BHTD.unbind(2), v_BHTD.unbind(2)):
            token = (self._length, k.clone(), v.clone())
            (self._sinks if self._length < self._n_sinks else self._ring).append(token)
            self._length += 1

    def _by_slot(self):
        yield from self._sinks
        yield from sorted(self._ring, key=lambda x: (x[0] - self._n_sinks) % self._window)

    def _stacked(self, which):
        tokens = [token[which] for token in self._by_slot()]
        if not tokens:
            b, h, d = self._sizes
            return torch.empty(b, h, 0, d, dtype=self._dtype, device=self._device)
        return torch.stack(tokens, dim=2)

    def keys(self):
        return self._stacked(1)

    def values(self):
        return self._stacked(2)

    def positions(self):
        return torch.tensor([token[0] for token in self._by_slot()], dtype=torch.int64,
                            device=self._device)

    def mask(self, n_queries):
        if not 1 <= n_queries <= self._length:
            raise ValueError("n_queries out of range")
        held = [token[0] for token in self._by_slot()]
        return torch.tensor(
            [[p <= own for p in held]
             for own in range(self._length - n_queries, self._length)],
            dtype=torch.bool, device=self._device)

    def truncate(self, length):
        if not 0 <= length <= self._length:
            raise ValueError("length out of range")
        there = {token[0] for token in self._by_slot()}
        for p in range(max(self._n_sinks, length - self._window), length):
            if p not in there:
                raise ValueError(f"token {p} has been overwritten")
        self._length = length
        for tokens in (self._sinks, self._ring):
            while tokens and tokens[-1][0] >= length:
                tokens.pop()


class SlotCache:
    """A slot is a list of chunks; nothing is reserved."""

    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        _raise_first(_too_small(1, n_slots=n_slots, max_length=max_length, n_kv_heads=n_kv_heads,
                                head_dim=head_dim))
        self._max, self._heads, self._dim = max_length, n_kv_heads, head_dim
        self._dtype, self._device = dtype, device
        self._chunks = [None] * n_slots

    @property
    def active(self):
        return [s for s, chunks in enumerate(self._chunks) if chunks is not None]

    def acquire(self):
        for slot in (s for s, chunks in enumerate(self._chunks) if chunks is None):
            self._chunks[slot] = []
            return slot
        raise RuntimeError("all slots are in use")

    def _strangers(self, slots):
        active = set(self.active)
        return (f"slot {s} is not in use" for s in slots if s not in active)

    def release(self, slot):
        _raise_first(self._strangers([slot]))
        self._chunks[slot] = None

    def _filled(self, slot):
        return sum(k.shape[1] for k, _ in self._chunks[slot])

    def append(self, slots, k_RHTD, v_RHTD):
        def problems():
            yield from self._strangers(slots)
            if len(set(slots)) < len(slots):
                yield "a slot is named twice"
            yield from _problems_of_chunk(k_RHTD, v_RHTD, (len(slots), self._heads, self._dim),
                                          self._dtype)
            for s in slots:
                if self._filled(s) + k_RHTD.shape[2] > self._max:
                    yield f"slot {s} would exceed {self._max}"

        _raise_first(problems())
        for r, s in enumerate(slots):
            self._chunks[s].append((k_RHTD[r].clone(), v_RHTD[r].clone()))

    def gather(self, slots):
        if len(slots) == 0:
            raise ValueError("no slot is named")
        _raise_first(self._strangers(slots))
        lengths = [self._filled(s) for s in slots]
        k = torch.zeros(len(slots), self._heads, max(lengths), self._dim, dtype=self._dtype,
                        device=self._device)
        v = torch.zeros_like(k)
        for r, s in enumerate(slots):
            at = 0
            for ck, cv in self._chunks[s]:
                k[r, :, at : at + ck.shape[1]] = ck
                v[r, :, at : at + ck.shape[1]] = cv
                at += ck.shape[1]
        return k, v, torch.tensor(lengths, dtype=torch.int64, device=self._device)


class QuantizedKVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        _raise_first(_too_small(1, batch_size=batch_size, n_kv_heads=n_kv_heads, head_dim=head_dim))
        self._sizes, self._dtype = (batch_size, n_kv_heads, head_dim), dtype
        self._numbers = KVCache(*self._sizes, dtype=torch.int8, device=device)
        self._k_scale = torch.empty(batch_size, n_kv_heads, 0, device=device)
        self._v_scale = torch.empty(batch_size, n_kv_heads, 0, device=device)

    @property
    def length(self):
        return self._numbers.length

    def append(self, k_BHTD, v_BHTD):
        _raise_first(_problems_of_chunk(k_BHTD, v_BHTD, self._sizes, self._dtype))
        packed = []
        for x in (k_BHTD, v_BHTD):
            x = x.float()
            largest = x.abs().amax(-1)
            scale = torch.where(largest / 127 == 0, torch.ones_like(largest), largest / 127)
            packed.append(((x / scale[..., None]).round_().clamp_(-127, 127).to(torch.int8), scale))
        (kq, ks), (vq, vs) = packed
        self._numbers.append(kq, vq)
        self._k_scale = torch.cat([self._k_scale, ks], 2)
        self._v_scale = torch.cat([self._v_scale, vs], 2)

    def packed_keys(self):
        return self._numbers.keys(), self._k_scale

    def packed_values(self):
        return self._numbers.values(), self._v_scale

    def keys(self):
        return (self._numbers.keys() * self._k_scale[..., None]).to(self._dtype)

    def values(self):
        return (self._numbers.values() * self._v_scale[..., None]).to(self._dtype)

    @staticmethod
    def _tiles(numbers, scales, size=192):
        for a in range(0, numbers.shape[2], size):
            yield a, numbers[:, :, a : a + size].float() * scales[:, :, a : a + size, None]

    def attend(self, q_BHqTD):
        B, H, D = self._sizes
        n = self.length

        def problems():
            if q_BHqTD.ndim != 4 or q_BHqTD.dtype != self._dtype:
                yield "q must be [B, Hq, T, D] with the cache's dtype"
            if (q_BHqTD.shape[0], q_BHqTD.shape[3]) != (B, D) or q_BHqTD.shape[1] % H:
                yield "q does not fit the cache"
            if not 1 <= q_BHqTD.shape[2] <= n:
                yield "T outside 1 ... length"

        _raise_first(problems())
        Hq, T = q_BHqTD.shape[1:3]
        q = q_BHqTD.float().reshape(B, H, -1, D)
        scores = torch.cat([q @ k.mT for _, k in self._tiles(*self.packed_keys())], -1)
        scores = scores.view(B, H, Hq // H, T, n) / math.sqrt(D)
        for t, seen in enumerate(_visible(n, T)):
            scores[..., t, seen:] = -math.inf
        w = scores.softmax(-1).view(B, H, -1, n)
        out = sum(w[..., a : a + v.shape[2]] @ v for a, v in self._tiles(*self.packed_values()))
        return out.view(B, Hq, T, D).to(self._dtype)


def _problems_of_config(c, batch_size, length):
    for name in ("n_layers", "n_query_heads", "n_kv_heads", "head_dim"):
        if getattr(c, name) < 1:
            yield f"{name} is below 1"
    yield from _too_small(0, batch_size=batch_size, length=length, window=c.window,
                          n_sinks=c.n_sinks)
    if c.n_query_heads % c.n_kv_heads:
        yield "n_query_heads is no multiple of n_kv_heads"
    if not 0 <= c.n_window_layers <= c.n_layers:
        yield "n_window_layers lies outside 0 ... n_layers"
    if c.n_window_layers and not c.window:
        yield "window layers without a window"


def _layer_tokens(c, length):
    yield (c.n_layers - c.n_window_layers) * length
    yield c.n_window_layers * min(length, c.n_sinks + c.window)


def kv_bytes(config, *, batch_size, length):
    _raise_first(_problems_of_config(config, batch_size, length))
    width = torch.zeros(1, dtype=config.dtype).element_size() * config.head_dim
    if config.dtype == torch.int8:
        width += 4
    return sum(_layer_tokens(config, length)) * 2 * config.n_kv_heads * batch_size * width


def largest_batch(config, *, length, budget_bytes):
    _raise_first(_problems_of_config(config, 1, length))
    _raise_first(_too_small(1, length=length))
    _raise_first(_too_small(0, budget_bytes=budget_bytes))
    return budget_bytes // kv_bytes(config, batch_size=1, length=length)
