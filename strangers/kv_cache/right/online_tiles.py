"""Tiles with an online softmax; checks come last, just before the state changes."""

import math

import torch

Tensor = torch.Tensor
TILE = 96


def _require(ok, message):
    if not ok:
        raise ValueError(message)


def _online(q, get_kv, n, mask_of):
    """Online softmax. q [..., M, D] scaled float32; get_kv(a, b) -> k, v [..., b-a, D]."""
    m = torch.full(q.shape[:-1], -math.inf, device=q.device)
    total = torch.zeros(q.shape[:-1], device=q.device)
    acc = torch.zeros_like(q)
    for a in range(0, n, TILE):
        b = min(a + TILE, n)
        k, v = get_kv(a, b)
        s = q @ k.transpose(-1, -2)
        hide = mask_of(a, b)
        if hide is not None:
            s = s.masked_fill(hide, -math.inf)
        new = torch.maximum(m, s.amax(-1))
        base = torch.where(new == -math.inf, torch.zeros_like(new), new)
        p = torch.exp(s - base[..., None])
        fix = torch.exp(m - base)
        total = total * fix + p.sum(-1)
        acc = acc * fix[..., None] + p @ v
        m = new
    safe = torch.where(total > 0, total, torch.ones_like(total))
    return acc / safe[..., None]


class KVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0,
                 device="cpu"):
        _require(batch_size >= 1 and n_kv_heads >= 1 and head_dim >= 1, "size below 1")
        _require(capacity >= 0, "negative capacity")
        self._shape = (batch_size, n_kv_heads, head_dim)
        # Token first in memory: room for more tokens is one piece at the end.
        self._k = torch.empty(capacity, batch_size, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._v = torch.empty_like(self._k)
        self._used = 0

    length = property(lambda self: self._used)
    capacity = property(lambda self: self._k.shape[0])

    def append(self, k_BHTD, v_BHTD):
        b, h, d = self._shape
        for x in (k_BHTD, v_BHTD):
            _require(x.dim() == 4, "rank")
            _require((x.size(0), x.size(1), x.size(3)) == (b, h, d), "shape")
            _require(x.dtype == self._k.dtype, "dtype")
        t = k_BHTD.size(2)
        _require(v_BHTD.size(2) == t, "T differs")
        need = self._used + t
        if need > self.capacity:
            room = max(2 * self.capacity, need)
            k, v = self._k.new_empty(room, b, h, d), self._v.new_empty(room, b, h, d)
            k[: self._used].copy_(self._k[: self._used])
            v[: self._used].copy_(self._v[: self._used])
            self._k, self._v = k, v
        self._k[self._used : need].copy_(k_BHTD.permute(2, 0, 1, 3))
        self._v[self._used : need].copy_(v_BHTD.permute(2, 0, 1, 3))
        self._used = need

    def keys(self):
        return self._k[: self._used].permute(1, 2, 0, 3)

    def values(self):
        return self._v[: self._used].permute(1, 2, 0, 3)

    def truncate(self, length):
        _require(0 <= length <= self._used, "cannot rewind there")
        self._used = length


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require(q_BHqTD.dim() == 4, "rank of q")
    _require(k_BHSD.dim() == 4 and v_BHSD.dim() == 4, "rank of k, v")
    _require(lengths_B.dim() == 1, "rank of lengths")
    B, Hq, T, D = q_BHqTD.shape
    H, S = k_BHSD.shape[1:3]
    _require(T >= 1, "T must be at least 1")
    _require(tuple(k_BHSD.shape) == (B, H, S, D), "shape of k")
    _require(tuple(v_BHSD.shape) == (B, H, S, D), "shape of v")
    _require(lengths_B.shape[0] == B, "one length per row")
    _require(H >= 1 and Hq % H == 0, "Hq must be a multiple of H")
    _require(q_BHqTD.dtype in {torch.float32, torch.float16, torch.bfloat16}, "dtype of q")
    _require(k_BHSD.dtype == q_BHqTD.dtype == v_BHSD.dtype, "dtypes differ")
    _require(lengths_B.dtype == torch.int64, "lengths are int64")
    lengths = [int(n) for n in lengths_B]
    _require(all(0 <= n <= S for n in lengths), "a length lies outside 0 ... S")
    factor = 1.0 / math.sqrt(D) if scale is None else scale
    out = torch.zeros(B, Hq, T, D, dtype=q_BHqTD.dtype, device=q_BHqTD.device)
    for b, n in enumerate(lengths):
        q = (q_BHqTD[b].float() * factor).reshape(H, (Hq // H) * T, D)
        own = torch.arange(n - T, n, device=q.device).repeat(Hq // H)

        def kv(lo, hi, b=b):
            return k_BHSD[b, :, lo:hi].float(), v_BHSD[b, :, lo:hi].float()

        def hide(lo, hi, own=own):
            return torch.arange(lo, hi, device=own.device) > own[:, None]

        out[b] = _online(q, kv, n, hide).view(Hq, T, D).to(out.dtype)
    return out


def _rotated(x, positions, base):
    D = x.shape[-1]
    i = torch.arange(D // 2, dtype=torch.float64, device=x.device)
    a = positions.double()[:, None] * torch.pow(torch.tensor(float(base), dtype=torch.float64), -2 * i / D)
    c, s = a.cos().to(x.dtype), a.sin().to(x.dtype)
    lo, hi = x[..., : D // 2], x[..., D // 2 :]
    return torch.cat([lo * c - hi * s, hi * c + lo * s], -1)


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    _require(prompt_BT.dtype == torch.int64 and prompt_BT.dim() == 2, "int64 [B, T]")
    B, T = prompt_BT.shape
    _require(B > 0 and T > 0, "empty prompt")
    _require(int(prompt_BT.min()) >= 0 and int(prompt_BT.max()) < model.vocab_size, "ids")
    N = max_new_tokens
    _require(N >= 0, "max_new_tokens")
    _require(temperature >= 0, "temperature")
    if temperature > 0:
        _require(uniforms_BN is not None and list(uniforms_BN.shape) == [B, N], "uniforms")
    dev = prompt_BT.device
    H, Hq, D = model.n_kv_heads, model.n_heads, model.head_dim
    caches = [KVCache(B, H, D, capacity=T + N, device=dev) for _ in range(model.n_layers)]

    def step(ids):
        start = caches[0].length
        pos = torch.arange(start, start + ids.shape[1], device=dev)
        x = model.embed(ids)
        for layer, cache in enumerate(caches):
            q, k, v = model.qkv(layer, x)
            cache.append(_rotated(k, pos, model.rope_base), v)
            stored = torch.full((B,), cache.length, dtype=torch.int64)
            att = decode_attention(_rotated(q, pos, model.rope_base), cache.keys(), cache.values(),
                                   stored)
            x = model.finish(layer, x, att)
        return model.logits(x[:, -1:])[:, -1]

    rows_t, rows_p = [], []
    alive = torch.ones(B, dtype=torch.bool, device=dev)
    pending = list(prompt_BT.split(model.max_tokens, dim=1))
    for n in range(N):
        for ids in pending:
            z = step(ids)
        if temperature == 0:
            p = torch.log_softmax(z, -1)
            pick = p.argmax(-1)
        else:
            p = torch.log_softmax(z / temperature, -1)
            over = p.double().exp().cumsum(-1) > uniforms_BN[:, n : n + 1].double()
            over[:, -1] = True
            pick = over.int().argmax(-1)
        lp = p.gather(-1, pick[:, None])[:, 0]
        if eos_id is not None:
            pick = torch.where(alive, pick, torch.full_like(pick, eos_id))
            lp = torch.where(alive, lp, torch.zeros_like(lp))
            alive = alive & (pick != eos_id)
        rows_t.append(pick)
        rows_p.append(lp)
        if not bool(alive.any()):
            rest = N - n - 1
            rows_t += [torch.full_like(pick, eos_id)] * rest
            rows_p += [torch.zeros_like(lp)] * rest
            break
        pending = [torch.where(alive, pick, torch.zeros_like(pick))[:, None]]
    if N == 0:
        return (torch.empty(B, 0, dtype=torch.int64, device=dev),
                torch.empty(B, 0, dtype=torch.float32, device=dev))
    return torch.stack(rows_t, 1), torch.stack(rows_p, 1)


class SlidingWindowCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, window, n_sinks=0,
                 dtype=torch.float32, device="cpu"):
        _require(batch_size >= 1 and n_kv_heads >= 1 and head_dim >= 1 and window >= 1, "below 1")
        _require(n_sinks >= 0, "n_sinks")
        self._shape = (batch_size, n_kv_heads, head_dim)
        self._w, self._s = window, n_sinks
        full = (batch_size, n_kv_heads, n_sinks + window, head_dim)
        self._k = torch.zeros(full, dtype=dtype, device=device)
        self._v = torch.zeros(full, dtype=dtype, device=device)
        self._seen = 0

    length = property(lambda self: self._seen)

    def _pieces(self, t):
        """Runs (source, slot, count) that lie in one piece in the chunk and in the buffer."""
        start, stop = self._seen, self._seen + t
        at = start
        while at < stop:
            if at < self._s:
                count = min(self._s, stop) - at
                yield at - start, at, count
            else:
                at = max(at, stop - self._w, self._s)
                r = (at - self._s) % self._w
                count = min(self._w - r, stop - at)
                yield at - start, self._s + r, count
            at += count

    def append(self, k_BHTD, v_BHTD):
        b, h, d = self._shape
        for x in (k_BHTD, v_BHTD):
            _require(x.dim() == 4 and x.dtype == self._k.dtype, "rank or dtype")
            _require((x.size(0), x.size(1), x.size(3)) == (b, h, d), "shape")
        t = k_BHTD.size(2)
        _require(t == v_BHTD.size(2), "T differs")
        for src, slot, count in self._pieces(t):
            self._k[:, :, slot : slot + count] = k_BHTD[:, :, src : src + count]
            self._v[:, :, slot : slot + count] = v_BHTD[:, :, src : src + count]
        self._seen += t

    def _in_use(self):
        return min(self._seen, self._s + self._w)

    def keys(self):
        return self._k[:, :, : self._in_use()].clone()

    def values(self):
        return self._v[:, :, : self._in_use()].clone()

    def positions(self):
        n = self._in_use()
        sinks = torch.arange(min(n, self._s))
        if n < self._s + self._w:
            ring = torch.arange(self._s, max(n, self._s))
        else:
            newest = torch.arange(self._seen - self._w, self._seen)
            ring = torch.roll(newest, (self._seen - self._w - self._s) % self._w)
        return torch.cat([sinks, ring]).to(self._k.device)

    def mask(self, n_queries):
        _require(1 <= n_queries <= self._seen, "n_queries")
        p = self.positions()
        return torch.stack([p <= self._seen - n_queries + t for t in range(n_queries)])

    def truncate(self, length):
        _require(0 <= length <= self._seen, "length")
        if length != self._seen and length > self._s:
            _require(self._seen - self._s <= self._w, "overwritten")
        self._seen = length


class SlotCache:
    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        _require(min(n_slots, max_length, n_kv_heads, head_dim) >= 1, "size below 1")
        self._hd, self._max, self._dtype, self._dev = (n_kv_heads, head_dim), max_length, dtype, device
        self._k = torch.empty(n_slots, max_length, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._v = torch.empty_like(self._k)
        self._lengths = {}
        self._free = set(range(n_slots))

    @property
    def active(self):
        return sorted(self._lengths)

    def acquire(self):
        if not self._free:
            raise RuntimeError("all slots are in use")
        slot = min(self._free)
        self._free.remove(slot)
        self._lengths[slot] = 0
        return slot

    def release(self, slot):
        _require(slot in self._lengths, "not in use")
        del self._lengths[slot]
        self._free.add(slot)

    def append(self, slots, k_RHTD, v_RHTD):
        _require(all(s in self._lengths for s in slots), "not in use")
        _require(len({*slots}) == len(slots), "named twice")
        for x in (k_RHTD, v_RHTD):
            _require(x.dim() == 4 and x.dtype == self._dtype, "rank or dtype")
            _require((x.size(1), x.size(3)) == self._hd and x.size(0) == len(slots), "shape")
        t = k_RHTD.size(2)
        _require(v_RHTD.size(2) == t, "T differs")
        _require(all(self._lengths[s] + t <= self._max for s in slots), "overflow")
        for s, k, v in zip(slots, k_RHTD, v_RHTD):
            n = self._lengths[s]
            self._k[s, n : n + t] = k.transpose(0, 1)
            self._v[s, n : n + t] = v.transpose(0, 1)
            self._lengths[s] = n + t

    def gather(self, slots):
        _require(len(slots) > 0, "none named")
        _require(all(s in self._lengths for s in slots), "not in use")
        lengths = torch.tensor([self._lengths[s] for s in slots], device=self._dev)
        S = int(lengths.max())
        both = []
        for buf in (self._k, self._v):
            out = torch.zeros(len(slots), S, *self._hd, dtype=self._dtype, device=self._dev)
            for r, s in enumerate(slots):
                n = self._lengths[s]
                out[r, :n] = buf[s, :n]
            both.append(out.transpose(1, 2))
        return both[0], both[1], lengths


class QuantizedKVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        _require(min(batch_size, n_kv_heads, head_dim) >= 1, "size below 1")
        self._shape, self._dtype = (batch_size, n_kv_heads, head_dim), dtype
        self._used = self._room = 0
        self._buf = {}
        for name in "kv":
            self._buf[name] = torch.empty(0, batch_size, n_kv_heads, head_dim, dtype=torch.int8,
                                          device=device)
            self._buf[name + "s"] = torch.empty(0, batch_size, n_kv_heads, device=device)

    length = property(lambda self: self._used)

    @staticmethod
    def _quantise(x):
        x = x.float()
        scale = x.abs().max(dim=-1).values / 127
        scale[scale == 0] = 1
        q = torch.round(x / scale[..., None])
        return q.clamp_(-127, 127).to(torch.int8), scale

    def append(self, k_BHTD, v_BHTD):
        for x in (k_BHTD, v_BHTD):
            _require(x.dim() == 4 and x.dtype == self._dtype, "rank or dtype")
            _require((x.size(0), x.size(1), x.size(3)) == self._shape, "shape")
        t = k_BHTD.size(2)
        _require(t == v_BHTD.size(2), "T differs")
        kq, ks = self._quantise(k_BHTD.permute(2, 0, 1, 3))
        vq, vs = self._quantise(v_BHTD.permute(2, 0, 1, 3))
        need = self._used + t
        if need > self._room:
            self._room = max(2 * self._room, need)
            for name, old in self._buf.items():
                new = old.new_empty(self._room, *old.shape[1:])
                new[: self._used] = old[: self._used]
                self._buf[name] = new
        for name, x in (("k", kq), ("ks", ks), ("v", vq), ("vs", vs)):
            self._buf[name][self._used : need] = x
        self._used = need

    def _packed(self, name):
        n = self._used
        return (self._buf[name][:n].permute(1, 2, 0, 3).clone(),
                self._buf[name + "s"][:n].permute(1, 2, 0).clone())

    def packed_keys(self):
        return self._packed("k")

    def packed_values(self):
        return self._packed("v")

    def _part(self, name, lo, hi):
        x = self._buf[name][lo:hi].float() * self._buf[name + "s"][lo:hi, :, :, None]
        return x.permute(1, 2, 0, 3)

    def keys(self):
        return self._part("k", 0, self._used).to(self._dtype)

    def values(self):
        return self._part("v", 0, self._used).to(self._dtype)

    def attend(self, q_BHqTD):
        B, H, D = self._shape
        _require(q_BHqTD.dim() == 4 and q_BHqTD.dtype == self._dtype, "rank or dtype of q")
        Hq, T = q_BHqTD.shape[1:3]
        n = self._used
        _require(tuple(q_BHqTD.shape) == (B, Hq, T, D) and Hq % H == 0, "shape of q")
        _require(1 <= T <= n, "T outside 1 ... length")
        G = Hq // H
        q = (q_BHqTD.float() / math.sqrt(D)).reshape(B, H, G * T, D)
        own = torch.arange(n - T, n, device=q.device).repeat(G)
        out = _online(
            q,
            lambda a, b: (self._part("k", a, b), self._part("v", a, b)),
            n,
            lambda a, b: torch.arange(a, b, device=q.device) > own[:, None],
        )
        return out.reshape(B, Hq, T, D).to(self._dtype)


def kv_bytes(config, *, batch_size, length):
    _require(config.n_layers >= 1, "n_layers")
    _require(config.n_query_heads >= 1, "n_query_heads")
    _require(config.n_kv_heads >= 1, "n_kv_heads")
    _require(config.head_dim >= 1, "head_dim")
    _require(batch_size >= 0, "batch_size")
    _require(length >= 0, "length")
    _require(config.window >= 0, "window")
    _require(config.n_sinks >= 0, "n_sinks")
    _require(config.n_query_heads % config.n_kv_heads == 0, "heads")
    _require(0 <= config.n_window_layers <= config.n_layers, "n_window_layers")
    _require(config.n_window_layers == 0 or config.window > 0, "window layers without window")
    short = min(length, config.n_sinks + config.window)
    vectors = config.n_layers * length - config.n_window_layers * (length - short)
    vectors *= 2 * config.n_kv_heads * batch_size
    size = torch.empty(0, dtype=config.dtype).element_size()
    extra = 4 if config.dtype is torch.int8 else 0
    return vectors * (config.head_dim * size + extra)


def largest_batch(config, *, length, budget_bytes):
    one = kv_bytes(config, batch_size=1, length=length)
    _require(budget_bytes >= 0, "budget_bytes")
    _require(length > 0, "length")
    best, step = 0, 1
    while one * step <= budget_bytes:
        step *= 2
    while step:
        if one * (best + step) <= budget_bytes:
            best += step
        step //= 2
    return best
