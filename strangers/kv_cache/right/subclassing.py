"""One growing store; the caches inherit from it."""

import math

import torch

Tensor = torch.Tensor


class _Base:
    """Sizes, checks and the token count that all caches share."""

    def __init__(self, batch, heads, dim, dtype, device, **minimum_one):
        for size in (batch, heads, dim, *minimum_one.values()):
            if size < 1:
                raise ValueError("a size is below 1")
        self.batch, self.heads, self.dim = batch, heads, dim
        self.dtype, self.device = dtype, device
        self._count = 0

    @property
    def length(self):
        return self._count

    def _checked(self, k, v, rows=None):
        rows = self.batch if rows is None else rows
        if k.dim() != 4 or v.dim() != 4:
            raise ValueError("rank")
        expected = (rows, self.heads, k.shape[2], self.dim)
        if tuple(k.shape) != expected or tuple(v.shape) != expected:
            raise ValueError(f"expected {expected}")
        if k.dtype != self.dtype or v.dtype != self.dtype:
            raise ValueError("dtype")
        return k.shape[2]

    def truncate(self, length):
        if length < 0 or length > self._count:
            raise ValueError("length out of range")
        self._may_go_back_to(length)
        self._count = length

    def _may_go_back_to(self, length):
        pass


class _Store(_Base):
    """Named buffers [B, H, room, *tail] that grow together."""

    def _open(self, room, **tails):
        self._buffers = {
            name: torch.empty((self.batch, self.heads, room, *tail), dtype=dtype,
                              device=self.device)
            for name, (dtype, tail) in tails.items()
        }
        self._room = room

    def _put(self, t, **parts):
        stop = self._count + t
        if stop > self._room:
            self._room = max(2 * self._room, stop)
            grown = {}
            for name, old in self._buffers.items():
                grown[name] = old.new_empty((self.batch, self.heads, self._room, *old.shape[3:]))
                grown[name][:, :, : self._count] = old[:, :, : self._count]
            self._buffers = grown
        for name, x in parts.items():
            self._buffers[name][:, :, self._count : stop] = x
        self._count = stop

    def _live(self, name):
        return self._buffers[name][:, :, : self._count]


class KVCache(_Store):
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0,
                 device="cpu"):
        super().__init__(batch_size, n_kv_heads, head_dim, dtype, device)
        if capacity < 0:
            raise ValueError("capacity")
        self._open(capacity, k=(dtype, (head_dim,)), v=(dtype, (head_dim,)))

    @property
    def capacity(self):
        return self._room

    def append(self, k_BHTD, v_BHTD):
        self._put(self._checked(k_BHTD, v_BHTD), k=k_BHTD, v=v_BHTD)

    def keys(self):
        return self._live("k")

    def values(self):
        return self._live("v")


class QuantizedKVCache(_Store):
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        super().__init__(batch_size, n_kv_heads, head_dim, dtype, device)
        self._open(0, k=(torch.int8, (head_dim,)), v=(torch.int8, (head_dim,)),
                   ks=(torch.float32, ()), vs=(torch.float32, ()))

    def append(self, k_BHTD, v_BHTD):
        t = self._checked(k_BHTD, v_BHTD)
        k, ks = self._encode(k_BHTD)
        v, vs = self._encode(v_BHTD)
        self._put(t, k=k, ks=ks, v=v, vs=vs)

    @staticmethod
    def _encode(x):
        x = x.to(torch.float32)
        lo, hi = x.amin(-1), x.amax(-1)
        s = torch.maximum(hi, -lo) / 127
        s = torch.where(s > 0, s, torch.ones_like(s))
        q = torch.floor(x / s.unsqueeze(-1) + 0.5)
        return torch.clamp(q, -127, 127).to(torch.int8), s

    def packed_keys(self):
        return self._live("k"), self._live("ks")

    def packed_values(self):
        return self._live("v"), self._live("vs")

    def keys(self):
        return (self._live("k").float() * self._live("ks").unsqueeze(-1)).to(self.dtype)

    def values(self):
        return (self._live("v").float() * self._live("vs").unsqueeze(-1)).to(self.dtype)

    def attend(self, q_BHqTD):
        q = q_BHqTD
        if q.dim() != 4 or q.dtype != self.dtype or q.shape[0] != self.batch:
            raise ValueError("rank, dtype or rows of q")
        if q.shape[3] != self.dim or q.shape[1] % self.heads:
            raise ValueError("heads or size of q")
        T, n = q.shape[2], self._count
        if T < 1 or T > n:
            raise ValueError("T outside 1 ... length")
        G = q.shape[1] // self.heads
        q = q.float().reshape(self.batch, self.heads, G, T, self.dim) * self.dim ** -0.5
        # Two passes: the largest score first, then sums of parts.
        tile = 200
        top = torch.full(q.shape[:-1], -math.inf, device=q.device)
        for a in range(0, n, tile):
            top = torch.maximum(top, self._tile_scores(q, a, tile).amax(-1))
        total = torch.zeros_like(top)
        out = torch.zeros_like(q)
        for a in range(0, n, tile):
            p = torch.exp(self._tile_scores(q, a, tile) - top.unsqueeze(-1))
            total += p.sum(-1)
            v = self._live("v")[:, :, a : a + tile].float()
            p = p * self._live("vs")[:, :, None, None, a : a + tile]
            out += (p.flatten(2, 3) @ v).view_as(out)
        return (out / total.unsqueeze(-1)).flatten(1, 2).to(self.dtype)

    def _tile_scores(self, q, a, tile):
        T, n = q.shape[3], self._count
        k = self._live("k")[:, :, a : a + tile].float()
        s = (q.flatten(2, 3) @ k.transpose(2, 3)).view(*q.shape[:4], -1)
        s = s * self._live("ks")[:, :, None, None, a : a + tile]
        at = torch.arange(a, a + k.shape[2], device=q.device)
        own = torch.arange(n - T, n, device=q.device)
        return s.masked_fill(at > own[:, None], -math.inf)


class SlidingWindowCache(_Base):
    def __init__(self, batch_size, n_kv_heads, head_dim, *, window, n_sinks=0,
                 dtype=torch.float32, device="cpu"):
        super().__init__(batch_size, n_kv_heads, head_dim, dtype, device, window=window)
        if n_sinks < 0:
            raise ValueError("n_sinks")
        self.window, self.sinks = window, n_sinks
        shape = (batch_size, n_kv_heads, n_sinks + window, head_dim)
        self._k = torch.zeros(shape, dtype=dtype, device=device)
        self._v = torch.zeros(shape, dtype=dtype, device=device)

    def append(self, k_BHTD, v_BHTD):
        t = self._checked(k_BHTD, v_BHTD)
        to_sinks = min(t, max(self.sinks - self._count, 0))
        if to_sinks:
            here = slice(self._count, self._count + to_sinks)
            self._k[:, :, here] = k_BHTD[:, :, :to_sinks]
            self._v[:, :, here] = v_BHTD[:, :, :to_sinks]
        rest = min(t - to_sinks, self.window)
        if rest:
            first = (self._count + t - rest - self.sinks) % self.window
            fits = min(rest, self.window - first)
            for buf, x in ((self._k, k_BHTD), (self._v, v_BHTD)):
                ring, x = buf[:, :, self.sinks :], x[:, :, t - rest :]
                ring[:, :, first : first + fits] = x[:, :, :fits]
                ring[:, :, : rest - fits] = x[:, :, fits:]
        self._count += t

    @property
    def _n(self):
        return min(self._count, self.sinks + self.window)

    def keys(self):
        return self._k[:, :, : self._n].clone()

    def values(self):
        return self._v[:, :, : self._n].clone()

    def positions(self):
        out = torch.arange(self._n, device=self.device)
        ring = out[self.sinks :]
        if len(ring):
            r = ring - self.sinks
            newest = self._count - 1 - self.sinks
            ring.copy_(self.sinks + newest - (newest - r) % self.window)
        return out

    def mask(self, n_queries):
        if n_queries < 1 or n_queries > self._count:
            raise ValueError("n_queries")
        own = self._count - n_queries + torch.arange(n_queries, device=self.device)
        return own.unsqueeze(1) >= self.positions().unsqueeze(0)

    def _may_go_back_to(self, length):
        oldest_needed = max(self.sinks, length - self.window)
        oldest_there = max(self.sinks, self._count - self.window)
        if oldest_needed < length and oldest_needed < oldest_there:
            raise ValueError("a token has been overwritten")


class SlotCache(_Base):
    """Each slot is a KVCache of its own; a fresh one on acquire."""

    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        super().__init__(1, n_kv_heads, head_dim, dtype, device, n_slots=n_slots,
                         max_length=max_length)
        self._slots = [None] * n_slots
        self._max = max_length

    length = None
    truncate = None

    @property
    def active(self):
        return [i for i, cache in enumerate(self._slots) if cache is not None]

    def acquire(self):
        if None not in self._slots:
            raise RuntimeError("all slots are in use")
        slot = self._slots.index(None)
        self._slots[slot] = KVCache(1, self.heads, self.dim, dtype=self.dtype, device=self.device)
        return slot

    def release(self, slot):
        self._cache(slot)
        self._slots[slot] = None

    def _cache(self, slot):
        if slot < 0 or slot >= len(self._slots) or self._slots[slot] is None:
            raise ValueError("slot is not in use")
        return self._slots[slot]

    def append(self, slots, k_RHTD, v_RHTD):
        caches = [self._cache(s) for s in slots]
        if len(set(slots)) != len(slots):
            raise ValueError("a slot is named twice")
        t = self._checked(k_RHTD, v_RHTD, rows=len(slots))
        if any(c.length + t > self._max for c in caches):
            raise ValueError("max_length")
        for r, c in enumerate(caches):
            c.append(k_RHTD[r : r + 1], v_RHTD[r : r + 1])

    def gather(self, slots):
        if not slots:
            raise ValueError("no slot is named")
        caches = [self._cache(s) for s in slots]
        lengths = [c.length for c in caches]
        shape = (len(slots), self.heads, max(lengths), self.dim)
        k = torch.zeros(shape, dtype=self.dtype, device=self.device)
        v = torch.zeros(shape, dtype=self.dtype, device=self.device)
        for r, c in enumerate(caches):
            k[r, :, : c.length] = c.keys()[0]
            v[r, :, : c.length] = c.values()[0]
        return k, v, torch.tensor(lengths, dtype=torch.int64, device=self.device)


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    q, k, v = q_BHqTD, k_BHSD, v_BHSD
    if q.dim() != 4 or k.dim() != 4 or v.dim() != 4 or lengths_B.dim() != 1:
        raise ValueError("rank")
    B, Hq, T, D = q.shape
    H, S = k.shape[1], k.shape[2]
    if T == 0 or H == 0 or Hq % H or k.shape != v.shape or k.shape != (B, H, S, D):
        raise ValueError("size")
    if lengths_B.shape != (B,) or lengths_B.dtype != torch.int64:
        raise ValueError("lengths_B")
    if q.dtype not in (torch.float32, torch.float16, torch.bfloat16) or not q.dtype == k.dtype == v.dtype:
        raise ValueError("dtype")
    if ((lengths_B > S) | (lengths_B < 0)).any():
        raise ValueError("a length lies outside 0 ... S")
    if scale is None:
        scale = 1 / math.sqrt(D)
    # Rows of one length and group are done together; keys are the outer loop's slices.
    out = torch.zeros(B, H, Hq // H, T, D, device=q.device)
    qs = q.float().reshape(B, H, Hq // H, T, D) * scale
    for n in sorted(set(lengths_B.tolist()) - {0}):
        rows = (lengths_B == n).nonzero()[:, 0].tolist()
        for b in rows:
            kk, vv = k[b, :, None, :n].float(), v[b, :, None, :n].float()
            t0 = max(0, T - n)
            s = qs[b, :, :, t0:] @ kk.transpose(-1, -2)
            late = torch.ones(T - t0, n, dtype=torch.bool, device=q.device).triu(n - T + t0 + 1)
            s.masked_fill_(late, -math.inf)
            out[b, :, :, t0:] = torch.exp(s - s.logsumexp(-1, keepdim=True)) @ vv
    return out.flatten(1, 2).to(q.dtype)


class _Sampler:
    def pick(self, z, n):
        return z.argmax(-1), z.log_softmax(-1)


class _UniformSampler(_Sampler):
    def __init__(self, temperature, uniforms):
        self.temperature, self.uniforms = temperature, uniforms

    def pick(self, z, n):
        logp = (z / self.temperature).log_softmax(-1)
        edge = logp.exp().double().cumsum(-1)
        hit = edge > self.uniforms[:, n].double().unsqueeze(-1)
        hit[:, -1] = True
        ids = torch.arange(z.shape[-1], device=z.device).expand_as(z)
        return ids.masked_fill(~hit, z.shape[-1]).amin(-1), logp


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    if prompt_BT.dtype != torch.int64 or prompt_BT.dim() != 2:
        raise ValueError("prompt")
    if prompt_BT.shape[0] < 1 or prompt_BT.shape[1] < 1:
        raise ValueError("prompt is empty")
    if (prompt_BT < 0).any() or (prompt_BT >= model.vocab_size).any():
        raise ValueError("ids")
    if max_new_tokens < 0:
        raise ValueError("max_new_tokens")
    if temperature < 0:
        raise ValueError("temperature")
    B, T = prompt_BT.shape
    N = max_new_tokens
    sampler = _Sampler()
    if temperature > 0:
        if uniforms_BN is None or uniforms_BN.shape != (B, N):
            raise ValueError("uniforms_BN")
        sampler = _UniformSampler(temperature, uniforms_BN)
    D = model.head_dim
    caches = [KVCache(B, model.n_kv_heads, D, capacity=T + N, device=prompt_BT.device)
              for _ in range(model.n_layers)]
    exponent = torch.arange(0, D, 2, dtype=torch.float64, device=prompt_BT.device) / D
    theta = 1.0 / torch.pow(float(model.rope_base), exponent)

    def rotate(x, first):
        a = torch.arange(first, first + x.shape[2], device=x.device).double()[:, None] * theta
        pairs = torch.stack([x[..., : D // 2], x[..., D // 2 :]])
        turned = torch.stack([-pairs[1], pairs[0]])
        return torch.cat(tuple(pairs * a.cos().float() + turned * a.sin().float()), -1)

    def advance(ids):
        first = caches[0].length
        x = model.embed(ids)
        for layer, cache in enumerate(caches):
            q, k, v = model.qkv(layer, x)
            cache.append(rotate(k, first), v)
            lengths = torch.tensor([cache.length] * B)
            x = model.finish(layer, x, decode_attention(rotate(q, first), cache.keys(),
                                                        cache.values(), lengths))
        return model.logits(x[:, -1:])[:, 0]

    tokens = torch.zeros(B, N, dtype=torch.int64, device=prompt_BT.device)
    logprobs = torch.zeros(B, N, device=prompt_BT.device)
    ended = torch.zeros(B, dtype=torch.bool, device=prompt_BT.device)
    for n in range(N):
        if n == 0:
            done = 0
            while done < T:
                z = advance(prompt_BT[:, done : done + model.max_tokens])
                done += model.max_tokens
        else:
            z = advance(ids[:, None])
        ids, logp = sampler.pick(z, n)
        tokens[:, n] = ids
        logprobs[:, n] = logp.gather(1, ids[:, None]).squeeze(1)
        if eos_id is not None:
            tokens[ended, n] = eos_id
            logprobs[ended, n] = 0
            ended = tokens[:, n] == eos_id
    return tokens, logprobs


def kv_bytes(config, *, batch_size, length):
    c = config
    for name in ("n_layers", "n_query_heads", "n_kv_heads", "head_dim"):
        if getattr(c, name) < 1:
            raise ValueError(f"{name} is below 1")
    for name, value in (("batch_size", batch_size), ("length", length), ("window", c.window),
                        ("n_sinks", c.n_sinks)):
        if value < 0:
            raise ValueError(f"{name} is negative")
    if c.n_query_heads % c.n_kv_heads != 0:
        raise ValueError("n_query_heads is no multiple of n_kv_heads")
    if c.n_window_layers < 0 or c.n_window_layers > c.n_layers:
        raise ValueError("n_window_layers")
    if c.n_window_layers != 0 and c.window == 0:
        raise ValueError("window layers, but no window")
    numbers = c.head_dim * c.dtype.itemsize
    scales = torch.float32.itemsize if c.dtype == torch.int8 else 0
    lengths = [length] * (c.n_layers - c.n_window_layers)
    lengths += [min(length, c.n_sinks + c.window)] * c.n_window_layers
    return sum(lengths) * 2 * c.n_kv_heads * batch_size * (numbers + scales)


def largest_batch(config, *, length, budget_bytes):
    if budget_bytes < 0:
        raise ValueError("budget_bytes is negative")
    each = kv_bytes(config, batch_size=1, length=length)
    if each == 0:
        raise ValueError("length is 0")
    return budget_bytes // each
