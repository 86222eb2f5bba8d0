"""einsum everywhere; buffers are made when the first token comes; checks by try functions."""

import math

import torch

Tensor = torch.Tensor


def _assert(ok, *why):
    if not ok:
        raise ValueError(*why)


def _same(k, v, b, h, d, dtype):
    _assert(k.dim() == 4 and v.dim() == 4, "rank")
    _assert(k.dtype == dtype and v.dtype == dtype, "dtype")
    t = k.shape[2]
    _assert(list(k.shape) == [b, h, t, d] and list(v.shape) == [b, h, t, d], "shape")
    return t


class KVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0,
                 device="cpu"):
        _assert(batch_size > 0 and n_kv_heads > 0 and head_dim > 0 and capacity >= 0, "size")
        self._args = (batch_size, n_kv_heads, head_dim)
        self._options = {"dtype": dtype, "device": device}
        self._capacity, self._n = capacity, 0
        self._k = self._v = None

    @property
    def length(self):
        return self._n

    @property
    def capacity(self):
        return self._capacity

    def append(self, k_BHTD, v_BHTD):
        b, h, d = self._args
        t = _same(k_BHTD, v_BHTD, b, h, d, self._options["dtype"])
        if t == 0:
            return
        if self._n + t > self._capacity:
            self._capacity = max(2 * self._capacity, self._n + t)
        if self._k is None or self._k.shape[2] != self._capacity:
            old = (self.keys(), self.values())
            self._k, self._v = (torch.empty(b, h, self._capacity, d, **self._options)
                                for _ in range(2))
            self._k[:, :, : self._n], self._v[:, :, : self._n] = old
        self._k[:, :, self._n : self._n + t] = k_BHTD
        self._v[:, :, self._n : self._n + t] = v_BHTD
        self._n += t

    def _get(self, buffer):
        b, h, d = self._args
        return torch.empty(b, h, 0, d, **self._options) if buffer is None else buffer[:, :, : self._n]

    def keys(self):
        return self._get(self._k)

    def values(self):
        return self._get(self._v)

    def truncate(self, length):
        _assert(0 <= length <= self._n, "length")
        self._n = length


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    q, k, v = q_BHqTD, k_BHSD, v_BHSD
    _assert((q.dim(), k.dim(), v.dim(), lengths_B.dim()) == (4, 4, 4, 1), "rank")
    b, hq, t, d = q.shape
    h, s = k.shape[1], k.shape[2]
    _assert(list(k.shape) == [b, h, s, d] and list(v.shape) == [b, h, s, d], "shape")
    _assert(list(lengths_B.shape) == [b] and t > 0 and h > 0 and hq % h == 0, "size")
    _assert(q.dtype in (torch.float32, torch.float16, torch.bfloat16), "dtype of q")
    _assert(k.dtype == v.dtype == q.dtype and lengths_B.dtype == torch.int64, "dtype")
    top = int(lengths_B.max()) if b else 0
    _assert(b == 0 or (int(lengths_B.min()) >= 0 and top <= s), "length")
    dev = q.device
    out = torch.zeros(b, h, hq // h, t, d, device=dev)
    if top:
        n = lengths_B.to(dev)
        at = torch.arange(top, device=dev)
        own = n[:, None] - t + torch.arange(t, device=dev)
        see = (at <= own[..., None])[:, None, None]                      # b 1 1 t s
        # Unused room goes out with the data itself: where, not a product.
        live = (at < n[:, None])[:, None, :, None]
        k = k[:, :, :top].float().masked_fill(~live, 0) if not bool(live.all()) else k[:, :, :top].float()
        v = v[:, :, :top].float().masked_fill(~live, 0) if not bool(live.all()) else v[:, :, :top].float()
        q = q.float().reshape(b, h, hq // h, t, d)
        score = torch.einsum("bhgtd,bhsd->bhgts", q, k) * (1 / math.sqrt(d) if scale is None else scale)
        score = score.masked_fill(~see, -math.inf)
        weight = torch.where(see, score.softmax(-1), torch.zeros((), device=dev))
        out = torch.einsum("bhgts,bhsd->bhgtd", weight, v)
    return out.reshape(b, hq, t, d).to(q_BHqTD.dtype)


class _Rope:
    """Rotation by [D/2, 2, 2] matrices per position."""

    def __init__(self, d, base):
        self.theta = base ** (-2 * torch.arange(d // 2, dtype=torch.float64) / d)

    def __call__(self, x, first):
        a = torch.einsum("t,i->ti", torch.arange(first, first + x.shape[2], dtype=torch.float64),
                         self.theta)
        m = torch.stack([a.cos(), -a.sin(), a.sin(), a.cos()], -1).unflatten(-1, (2, 2))
        pairs = x.unflatten(-1, (2, x.shape[-1] // 2))
        return torch.einsum("tinm,bhtmi->bhtni", m.to(x), pairs).flatten(-2)


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    _assert(prompt_BT.dtype == torch.int64 and prompt_BT.dim() == 2, "prompt")
    b, t = prompt_BT.shape
    _assert(b > 0 and t > 0, "empty prompt")
    _assert(bool(((prompt_BT >= 0) & (prompt_BT < model.vocab_size)).all()), "ids")
    _assert(max_new_tokens >= 0 and temperature >= 0, "negative")
    if temperature > 0:
        _assert(uniforms_BN is not None and list(uniforms_BN.shape) == [b, max_new_tokens], "uniforms")
    rope = _Rope(model.head_dim, model.rope_base)
    cache = [KVCache(b, model.n_kv_heads, model.head_dim) for _ in range(model.n_layers)]
    rope_at = 0
    ids, todo = None, prompt_BT
    tokens, logprobs = [prompt_BT[:, :0].clone()], [torch.zeros(b, 0)]
    going = torch.ones(b, 1, dtype=torch.bool)
    for n in range(max_new_tokens):
        # Whatever has not been through the model yet: the prompt, later the newest token.
        while todo.shape[1]:
            x = model.embed(todo[:, : model.max_tokens])
            m = x.shape[1]
            for layer in range(model.n_layers):
                q, k, v = model.qkv(layer, x)
                cache[layer].append(rope(k, rope_at), v)
                full = torch.full((b,), rope_at + m)
                x = model.finish(layer, x, decode_attention(
                    rope(q, rope_at), cache[layer].keys(), cache[layer].values(), full))
            rope_at += m
            todo = todo[:, m:]
        z = model.logits(x[:, -1:])[:, 0]
        p = (z / temperature if temperature > 0 else z).log_softmax(-1)
        if temperature > 0:
            passed = p.double().exp().cumsum(-1) > uniforms_BN[:, n].double()[:, None]
            passed[:, -1] = True
            ids = passed.to(torch.uint8).argmax(-1, keepdim=True)
        else:
            ids = z.argmax(-1, keepdim=True)
        lp = p.gather(-1, ids)
        if eos_id is not None:
            lp = lp.where(going, torch.zeros(()))
            shown = ids.where(going, torch.tensor(eos_id))
            going = going & (ids != eos_id)
        else:
            shown = ids
        tokens.append(shown)
        logprobs.append(lp)
        todo = ids
    return torch.cat(tokens, 1), torch.cat(logprobs, 1)


class SlidingWindowCache:
    """Sinks and ring are two tensors; the ring's contents as a one-hot scatter (einsum-free copy)."""

    def __init__(self, batch_size, n_kv_heads, head_dim, *, window, n_sinks=0,
                 dtype=torch.float32, device="cpu"):
        _assert(min(batch_size, n_kv_heads, head_dim, window) > 0 and n_sinks >= 0, "size")
        self._args, self._w, self._s, self._n = (batch_size, n_kv_heads, head_dim), window, n_sinks, 0
        self._options = {"dtype": dtype, "device": device}
        self._sink = [torch.empty(batch_size, n_kv_heads, 0, head_dim, **self._options)] * 2
        self._ring = list(self._sink)  # at most `window` tokens, by slot

    @property
    def length(self):
        return self._n

    def append(self, k_BHTD, v_BHTD):
        b, h, d = self._args
        t = _same(k_BHTD, v_BHTD, b, h, d, self._options["dtype"])
        to_sinks = max(0, min(t, self._s - self._n))
        sink, ring = [], []
        for i, x in enumerate((k_BHTD, v_BHTD)):
            sink.append(torch.cat([self._sink[i], x[:, :, :to_sinks]], 2))
            old, new = self._ring[i], x[:, :, to_sinks:]
            # In order of position, newest last; then turned so that slots come out.
            first = max(self._s, self._n - old.shape[2]) if self._n > self._s else self._s
            start = (first - self._s) % self._w if old.shape[2] == self._w else 0
            line = torch.cat([old.roll(-start, 2), new], 2)[:, :, -self._w :]
            seen = max(0, self._n + t - self._s)
            turn = seen % self._w if seen >= self._w else 0
            ring.append(line.roll(turn, 2))
        self._sink, self._ring = sink, ring
        self._n += t

    def keys(self):
        return torch.cat([self._sink[0], self._ring[0]], 2)

    def values(self):
        return torch.cat([self._sink[1], self._ring[1]], 2)

    def positions(self):
        ring = max(0, self._n - self._s)
        line = torch.arange(max(0, ring - self._w), ring) + self._s
        turn = ring % self._w if ring >= self._w else 0
        return torch.cat([torch.arange(min(self._n, self._s)), line.roll(turn)]).to(
            self._options["device"])

    def mask(self, n_queries):
        _assert(1 <= n_queries <= self._n, "n_queries")
        own = torch.arange(self._n - n_queries, self._n, device=self._options["device"])
        return self.positions().expand(n_queries, -1) <= own.unsqueeze(-1)

    def truncate(self, length):
        _assert(0 <= length <= self._n, "length")
        if length == self._n:
            return
        overwritten = self._n - self._s > self._w
        _assert(length <= self._s or not overwritten, "overwritten")
        self._sink = [x[:, :, :length] for x in self._sink]
        self._ring = [x[:, :, : max(0, length - self._s)] for x in self._ring]
        self._n = length


class SlotCache:
    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        _assert(min(n_slots, max_length, n_kv_heads, head_dim) > 0, "size")
        self._n, self._max, self._args = n_slots, max_length, (n_kv_heads, head_dim)
        self._options = {"dtype": dtype, "device": device}
        self._data = {}  # slot: (k, v), [H, S, D] each, replaced by a longer one

    @property
    def active(self):
        return sorted(self._data.keys())

    def acquire(self):
        free = set(range(self._n)) - set(self._data)
        if not free:
            raise RuntimeError("full")
        slot = min(free)
        h, d = self._args
        self._data[slot] = (torch.empty(h, 0, d, **self._options),) * 2
        return slot

    def release(self, slot):
        _assert(slot in self._data, "not in use")
        self._data.pop(slot)

    def append(self, slots, k_RHTD, v_RHTD):
        h, d = self._args
        for i, s in enumerate(slots):
            _assert(s in self._data, "not in use")
            _assert(s not in slots[:i], "twice")
        t = _same(k_RHTD, v_RHTD, len(slots), h, d, self._options["dtype"])
        update = {}
        for r, s in enumerate(slots):
            k, v = self._data[s]
            _assert(k.shape[1] + t <= self._max, "overflow")
            update[s] = (torch.cat([k, k_RHTD[r]], 1), torch.cat([v, v_RHTD[r]], 1))
        self._data.update(update)

    def gather(self, slots):
        _assert(len(slots) > 0, "none")
        for s in slots:
            _assert(s in self._data, "not in use")
        n = [self._data[s][0].shape[1] for s in slots]
        h, d = self._args
        out = []
        for i in range(2):
            x = torch.zeros(len(slots), h, max(n), d, **self._options)
            for r, s in enumerate(slots):
                x[r, :, : n[r]] = self._data[s][i]
            out.append(x)
        return out[0], out[1], torch.tensor(n, device=self._options["device"])


class QuantizedKVCache:
    """Lazy: chunks are packed at once, but joined only when somebody asks."""

    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        _assert(min(batch_size, n_kv_heads, head_dim) > 0, "size")
        b, h, d = self._args = (batch_size, n_kv_heads, head_dim)
        self._dtype, self._n = dtype, 0
        self._parts = [[torch.empty(b, h, 0, d, dtype=torch.int8, device=device)],
                       [torch.empty(b, h, 0, device=device)],
                       [torch.empty(b, h, 0, d, dtype=torch.int8, device=device)],
                       [torch.empty(b, h, 0, device=device)]]

    @property
    def length(self):
        return self._n

    def append(self, k_BHTD, v_BHTD):
        t = _same(k_BHTD, v_BHTD, *self._args, self._dtype)
        for i, x in enumerate((k_BHTD, v_BHTD)):
            x = x.float()
            scale = x.abs().amax(-1) / 127
            scale = scale + (scale == 0)  # 1 where all is zero
            q = torch.round(x / scale[..., None]).clamp(-127, 127).to(torch.int8)
            self._parts[2 * i].append(q)
            self._parts[2 * i + 1].append(scale)
        self._n += t

    def _joined(self, i):
        if len(self._parts[i]) > 1:
            self._parts[i] = [torch.cat(self._parts[i], 2)]
        return self._parts[i][0]

    def packed_keys(self):
        return self._joined(0), self._joined(1)

    def packed_values(self):
        return self._joined(2), self._joined(3)

    def keys(self):
        return torch.einsum("bhsd,bhs->bhsd", self._joined(0).float(), self._joined(1)).to(self._dtype)

    def values(self):
        return torch.einsum("bhsd,bhs->bhsd", self._joined(2).float(), self._joined(3)).to(self._dtype)

    def attend(self, q_BHqTD):
        b, h, d = self._args
        n = self._n
        _assert(q_BHqTD.dim() == 4 and q_BHqTD.dtype == self._dtype, "rank or dtype")
        hq, t = q_BHqTD.shape[1], q_BHqTD.shape[2]
        _assert(list(q_BHqTD.shape) == [b, hq, t, d] and hq % h == 0 and 1 <= t <= n, "size")
        q = q_BHqTD.float().reshape(b, h, hq // h, t, d) / math.sqrt(d)
        kq, ks = self.packed_keys()
        vq, vs = self.packed_values()
        tile = 128
        score = torch.cat([torch.einsum("bhgtd,bhsd->bhgts", q, kq[:, :, a : a + tile].float())
                           for a in range(0, n, tile)], -1)
        score = torch.einsum("bhgts,bhs->bhgts", score, ks)
        see = torch.arange(n, device=q.device) <= torch.arange(n - t, n, device=q.device)[:, None]
        weight = score.masked_fill(~see, -math.inf).softmax(-1)
        weight = torch.einsum("bhgts,bhs->bhgts", weight, vs)
        out = torch.zeros_like(q)
        for a in range(0, n, tile):
            out += torch.einsum("bhgts,bhsd->bhgtd", weight[..., a : a + tile],
                                vq[:, :, a : a + tile].float())
        return out.reshape(b, hq, t, d).to(self._dtype)


def _numbers(config, batch_size, length):
    c = config
    _assert(all(x >= 1 for x in (c.n_layers, c.n_query_heads, c.n_kv_heads, c.head_dim)), "size")
    _assert(all(x >= 0 for x in (batch_size, length, c.window, c.n_sinks)), "negative")
    _assert(c.n_query_heads % c.n_kv_heads == 0, "heads")
    _assert(0 <= c.n_window_layers <= c.n_layers, "window layers")
    _assert(not (c.n_window_layers and c.window == 0), "window")
    kept = c.n_layers * length
    if length > c.n_sinks + c.window:
        kept -= c.n_window_layers * (length - c.n_sinks - c.window)
    return 2 * batch_size * c.n_kv_heads * kept  # vectors


def kv_bytes(config, *, batch_size, length):
    vectors = _numbers(config, batch_size, length)
    scales = 4 * vectors if config.dtype == torch.int8 else 0
    return vectors * config.head_dim * config.dtype.itemsize + scales


def largest_batch(config, *, length, budget_bytes):
    one = kv_bytes(config, batch_size=1, length=length)
    _assert(length > 0 and budget_bytes >= 0, "length or budget")
    lo, hi = 0, budget_bytes // one + 1
    while hi - lo > 1:
        mid = (lo + hi) // 2
        if kv_bytes(config, batch_size=mid, length=length) <= budget_bytes:
            lo = mid
        else:
            hi = mid
    return lo
