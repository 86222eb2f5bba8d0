"""Recursion: halves of sequences, merged by their log-sum-exp."""

import math

import torch

Tensor = torch.Tensor
LEAF = 64


def _check_all(pairs):
    """Recursively: the first condition that fails raises."""
    if pairs:
        (ok, message), *rest = pairs
        if not ok:
            raise ValueError(message)
        _check_all(rest)


def _check_chunk(k, v, sizes, dtype):
    _check_all([(k.dim() == 4, "rank of keys"), (v.dim() == 4, "rank of values")])
    _check_all([
        ((k.shape[0], k.shape[1], k.shape[3]) == sizes, "shape of keys"),
        (k.shape == v.shape, "shape of values"),
        (k.dtype == dtype and v.dtype == dtype, "dtype"),
    ])


class KVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0,
                 device="cpu"):
        _check_all([(batch_size >= 1, "batch_size"), (n_kv_heads >= 1, "n_kv_heads"),
                    (head_dim >= 1, "head_dim"), (capacity >= 0, "capacity")])
        self._sizes = (batch_size, n_kv_heads, head_dim)
        self._kv = torch.empty(batch_size, n_kv_heads, capacity, 2 * head_dim, dtype=dtype,
                               device=device)
        self._length = 0

    @property
    def length(self):
        return self._length

    @property
    def capacity(self):
        return self._kv.shape[2]

    def append(self, k_BHTD, v_BHTD):
        _check_chunk(k_BHTD, v_BHTD, self._sizes, self._kv.dtype)
        needed = self._length + k_BHTD.shape[2]
        if needed > self.capacity:
            b, h, d = self._sizes
            bigger = self._kv.new_empty(b, h, max(2 * self.capacity, needed), 2 * d)
            bigger[:, :, : self._length] = self._kv[:, :, : self._length]
            self._kv = bigger
            return self.append(k_BHTD, v_BHTD)
        d = self._sizes[2]
        new = self._kv[:, :, self._length : needed]
        new[..., :d] = k_BHTD
        new[..., d:] = v_BHTD
        self._length = needed
        return None

    def keys(self):
        return self._kv[:, :, : self._length, : self._sizes[2]]

    def values(self):
        return self._kv[:, :, : self._length, self._sizes[2] :]

    def truncate(self, length):
        _check_all([(0 <= length <= self._length, "length")])
        self._length = length


def _tree(q, own, part, lo, hi):
    """(normalised sum, logsumexp) of q [..., M, D] over positions lo ... hi - 1."""
    if hi - lo > LEAF:
        mid = (lo + hi) // 2
        a, la = _tree(q, own, part, lo, mid)
        b, lb = _tree(q, own, part, mid, hi)
        both = torch.logaddexp(la, lb)
        calm = both.masked_fill(both == -math.inf, 0.0)
        wa, wb = torch.exp(la - calm), torch.exp(lb - calm)
        return a * wa.unsqueeze(-1) + b * wb.unsqueeze(-1), both
    k, v = part(lo, hi)
    s = torch.matmul(q, k.transpose(-1, -2))
    s = s.masked_fill(torch.arange(lo, hi, device=q.device) > own.unsqueeze(-1), -math.inf)
    total = torch.logsumexp(s, -1)
    calm = total.masked_fill(total == -math.inf, 0.0)
    return torch.matmul(torch.exp(s - calm.unsqueeze(-1)), v), total


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    q, k, v = q_BHqTD, k_BHSD, v_BHSD
    _check_all([(q.dim() == 4, "rank of q"), (k.dim() == 4, "rank of k"),
                (v.dim() == 4, "rank of v"), (lengths_B.dim() == 1, "rank of lengths")])
    B, Hq, T, D = q.shape
    H, S = k.shape[1], k.shape[2]
    _check_all([
        (k.shape == (B, H, S, D), "shape of k"),
        (v.shape == k.shape, "shape of v"),
        (lengths_B.shape == (B,), "shape of lengths"),
        (T >= 1 and H >= 1, "T and H"),
        (q.dtype in (torch.float32, torch.float16, torch.bfloat16), "dtype of q"),
        (k.dtype == q.dtype and v.dtype == q.dtype, "dtypes differ"),
        (lengths_B.dtype == torch.int64, "dtype of lengths"),
    ])
    lengths = lengths_B.tolist()
    _check_all([(Hq % H == 0, "Hq"),
                (min(lengths, default=0) >= 0 and max(lengths, default=0) <= S, "length")])
    factor = D ** -0.5 if scale is None else scale

    def rows(lo, hi):
        if hi - lo > 1:
            mid = (lo + hi) // 2
            return rows(lo, mid) + rows(mid, hi)
        if hi == lo or lengths[lo] == 0:
            return [torch.zeros(Hq, T, D, dtype=q.dtype, device=q.device)] * (hi - lo)
        n = lengths[lo]
        own = torch.arange(n - T, n, device=q.device).repeat(Hq // H)
        query = q[lo].float().reshape(H, -1, D) * factor
        out, _ = _tree(query, own,
                       lambda a, b: (k[lo, :, a:b].float(), v[lo, :, a:b].float()), 0, n)
        return [out.reshape(Hq, T, D).to(q.dtype)]

    return torch.stack(rows(0, B)) if B else torch.zeros_like(q)


def _spin(x, positions, base):
    D = x.shape[-1]

    def frequencies(i):
        return [] if i == D // 2 else [base ** (-2 * i / D), *frequencies(i + 1)]

    theta = torch.tensor(frequencies(0), dtype=torch.float64, device=x.device)
    a = positions.double().unsqueeze(-1) * theta
    c, s = a.cos().float(), a.sin().float()
    x0, x1 = x.split(D // 2, dim=-1)
    return torch.cat((x0 * c - x1 * s, x1 * c + x0 * s), dim=-1)


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    _check_all([(prompt_BT.dtype == torch.int64, "dtype of the prompt"),
                (prompt_BT.dim() == 2, "rank of the prompt"),
                (prompt_BT.numel() > 0, "empty prompt")])
    _check_all([(int(prompt_BT.min()) >= 0, "negative id"),
                (int(prompt_BT.max()) < model.vocab_size, "id too large"),
                (max_new_tokens >= 0, "max_new_tokens"), (temperature >= 0, "temperature")])
    B, T = prompt_BT.shape
    N = max_new_tokens
    if temperature > 0:
        _check_all([(uniforms_BN is not None, "no uniforms")])
        _check_all([(tuple(uniforms_BN.shape) == (B, N), "shape of uniforms")])
    dev = prompt_BT.device
    tokens = torch.zeros(B, N, dtype=torch.int64, device=dev)
    logprobs = torch.zeros(B, N, device=dev)
    caches = [KVCache(B, model.n_kv_heads, model.head_dim, capacity=T + N, device=dev)
              for _ in range(model.n_layers)]

    def through(layer, x, positions):
        if layer == model.n_layers:
            return model.logits(x[:, -1:])[:, 0]
        q, k, v = model.qkv(layer, x)
        caches[layer].append(_spin(k, positions, model.rope_base), v)
        lengths = torch.full((B,), caches[layer].length, dtype=torch.int64, device=dev)
        attended = decode_attention(_spin(q, positions, model.rope_base), caches[layer].keys(),
                                    caches[layer].values(), lengths)
        return through(layer + 1, model.finish(layer, x, attended), positions)

    def prefill(ids, start):
        if ids.shape[1] > model.max_tokens:
            prefill(ids[:, : model.max_tokens], start)
            return prefill(ids[:, model.max_tokens :], start + model.max_tokens)
        positions = torch.arange(start, start + ids.shape[1], device=dev)
        return through(0, model.embed(ids), positions)

    # Steps are a loop: N may exceed Python's limit of recursion. (So may the chunks of a prompt
    # with tiny max_tokens: feed these in runs.)
    if N == 0:
        return tokens, logprobs
    run = 200 * model.max_tokens
    for start in range(0, T, run):
        z = prefill(prompt_BT[:, start : start + run], start)
    over = [False] * B

    def choose(p, u, i=0):
        lo, hi = 0, len(p)
        while lo < hi:
            mid = (lo + hi) // 2
            if p[mid] > u:
                hi = mid
            else:
                lo = mid + 1
        return min(lo, len(p) - 1)

    for n in range(N):
        logp = torch.log_softmax(z if temperature == 0 else z / temperature, -1)
        cum = logp.double().exp().cumsum(-1)
        for b in range(B):
            if over[b]:
                tokens[b, n] = eos_id
                continue
            pick = int(z[b].argmax()) if temperature == 0 else (
                choose(cum[b].tolist(), uniforms_BN[b, n].item()))
            tokens[b, n] = pick
            logprobs[b, n] = logp[b, pick]
            over[b] = eos_id is not None and pick == eos_id
        if n + 1 < N:
            z = prefill(tokens[:, n : n + 1], T + n)
    return tokens, logprobs


class SlidingWindowCache:
    """Recursive append: what crosses a border is appended in two parts."""

    def __init__(self, batch_size, n_kv_heads, head_dim, *, window, n_sinks=0,
                 dtype=torch.float32, device="cpu"):
        _check_all([(batch_size >= 1, "batch_size"), (n_kv_heads >= 1, "n_kv_heads"),
                    (head_dim >= 1, "head_dim"), (window >= 1, "window"),
                    (n_sinks >= 0, "n_sinks")])
        self._sizes = (batch_size, n_kv_heads, head_dim)
        self._w, self._s, self._length = window, n_sinks, 0
        self._kv = torch.zeros(2, batch_size, n_kv_heads, n_sinks + window, head_dim, dtype=dtype,
                               device=device)

    @property
    def length(self):
        return self._length

    def append(self, k_BHTD, v_BHTD):
        _check_chunk(k_BHTD, v_BHTD, self._sizes, self._kv.dtype)
        self._take(k_BHTD, v_BHTD)

    def _take(self, k, v):
        t, at = k.shape[2], self._length
        if t == 0:
            return
        if at < self._s:
            slot, room = at, self._s - at
        else:
            if t > self._w:  # all but the newest of the ring are skipped
                self._length += t - self._w
                self._take(k[:, :, t - self._w :], v[:, :, t - self._w :])
                return
            r = (at - self._s) % self._w
            slot, room = self._s + r, self._w - r
        now = min(t, room)
        self._kv[0, :, :, slot : slot + now] = k[:, :, :now]
        self._kv[1, :, :, slot : slot + now] = v[:, :, :now]
        self._length += now
        self._take(k[:, :, now:], v[:, :, now:])

    def _n(self):
        return min(self._length, self._s + self._w)

    def keys(self):
        return self._kv[0, :, :, : self._n()].clone()

    def values(self):
        return self._kv[1, :, :, : self._n()].clone()

    def positions(self):
        n, ring_start = self._n(), max(self._s, self._length - self._w)
        sinks = list(range(min(n, self._s)))
        ring = list(range(ring_start, self._length))
        turn = -((ring_start - self._s) % self._w) % self._w if len(ring) == self._w else 0
        return torch.tensor(sinks + ring[turn:] + ring[:turn], dtype=torch.int64,
                            device=self._kv.device)

    def mask(self, n_queries):
        _check_all([(1 <= n_queries <= self._length, "n_queries")])
        row = (self.positions() <= self._length - n_queries).unsqueeze(0)
        if n_queries == 1:
            return row
        return torch.cat([row, self.mask(n_queries - 1)]) if n_queries < 200 else (
            self.positions()[None] <= torch.arange(self._length - n_queries, self._length,
                                                   device=self._kv.device)[:, None])

    def truncate(self, length):
        _check_all([(0 <= length <= self._length, "length"),
                    (length == self._length or length <= self._s
                     or self._length <= self._s + self._w, "overwritten")])
        self._length = length


class SlotCache:
    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        _check_all([(n_slots >= 1, "n_slots"), (max_length >= 1, "max_length"),
                    (n_kv_heads >= 1, "n_kv_heads"), (head_dim >= 1, "head_dim")])
        self._sizes, self._max = (n_kv_heads, head_dim), max_length
        self._kv = torch.zeros(n_slots, 2, n_kv_heads, max_length, head_dim, dtype=dtype,
                               device=device)
        self._free = list(range(n_slots))
        self._length = {}

    @property
    def active(self):
        return [s for s in range(len(self._kv)) if s in self._length]

    def acquire(self):
        if not self._free:
            raise RuntimeError("all slots are in use")
        slot = self._free.pop(0)
        self._length[slot] = 0
        return slot

    def release(self, slot):
        self._in_use([slot])
        del self._length[slot]
        self._free = sorted([*self._free, slot])

    def _in_use(self, slots):
        if slots:
            _check_all([(slots[0] in self._length, "slot is not in use")])
            self._in_use(slots[1:])

    def append(self, slots, k_RHTD, v_RHTD):
        slots = list(slots)
        self._in_use(slots)
        _check_all([(len(set(slots)) == len(slots), "named twice")])
        _check_chunk(k_RHTD, v_RHTD, (len(slots), *self._sizes), self._kv.dtype)
        t = k_RHTD.shape[2]
        _check_all([(self._length[s] + t <= self._max, "overflow") for s in slots])

        def put(r):
            if r == len(slots):
                return
            s = slots[r]
            n = self._length[s]
            self._kv[s, 0, :, n : n + t] = k_RHTD[r]
            self._kv[s, 1, :, n : n + t] = v_RHTD[r]
            self._length[s] = n + t
            put(r + 1)

        put(0)

    def gather(self, slots):
        slots = list(slots)
        _check_all([(len(slots) > 0, "no slot is named")])
        self._in_use(slots)
        lengths = torch.tensor([self._length[s] for s in slots], device=self._kv.device)
        S = int(lengths.max())
        live = (torch.arange(S, device=self._kv.device) < lengths[:, None])[:, None, None, :, None]
        both = torch.where(live, self._kv[slots][:, :, :, :S],
                           torch.zeros((), dtype=self._kv.dtype, device=self._kv.device))
        return both[:, 0], both[:, 1], lengths


class QuantizedKVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        _check_all([(batch_size >= 1, "batch_size"), (n_kv_heads >= 1, "n_kv_heads"),
                    (head_dim >= 1, "head_dim")])
        self._sizes, self._dtype = (batch_size, n_kv_heads, head_dim), dtype
        # A KVCache of int8 numbers and one of scales.
        self._numbers = KVCache(*self._sizes, dtype=torch.int8, device=device)
        self._scales = KVCache(batch_size, n_kv_heads, 1, device=device)

    @property
    def length(self):
        return self._numbers.length

    def append(self, k_BHTD, v_BHTD):
        _check_chunk(k_BHTD, v_BHTD, self._sizes, self._dtype)

        def pack(x):
            x = x.float()
            m = x.abs().amax(-1, keepdim=True)
            s = m / 127
            s = torch.where(s == 0, torch.ones_like(s), s)
            return (x / s).round().clamp(-127, 127).to(torch.int8), s

        (kq, ks), (vq, vs) = pack(k_BHTD), pack(v_BHTD)
        self._numbers.append(kq, vq)
        self._scales.append(ks, vs)

    def packed_keys(self):
        return self._numbers.keys(), self._scales.keys()[..., 0]

    def packed_values(self):
        return self._numbers.values(), self._scales.values()[..., 0]

    def keys(self):
        return (self._numbers.keys().float() * self._scales.keys()).to(self._dtype)

    def values(self):
        return (self._numbers.values().float() * self._scales.values()).to(self._dtype)

    def attend(self, q_BHqTD):
        q = q_BHqTD
        B, H, D = self._sizes
        n = self.length
        _check_all([(q.dim() == 4, "rank of q"), (q.dtype == self._dtype, "dtype of q")])
        Hq, T = q.shape[1], q.shape[2]
        _check_all([(q.shape == (B, Hq, T, D), "shape of q"), (Hq % H == 0, "heads"),
                    (1 <= T <= n, "T")])
        own = torch.arange(n - T, n, device=q.device).repeat(Hq // H)

        def part(lo, hi):
            return (self._numbers.keys()[:, :, lo:hi].float() * self._scales.keys()[:, :, lo:hi],
                    self._numbers.values()[:, :, lo:hi].float() * self._scales.values()[:, :, lo:hi])

        out, _ = _tree(q.float().reshape(B, H, -1, D) * D ** -0.5, own, part, 0, n)
        return out.reshape(B, Hq, T, D).to(self._dtype)


def kv_bytes(config, *, batch_size, length):
    c = config
    _check_all([
        (c.n_layers >= 1, "n_layers"), (c.n_query_heads >= 1, "n_query_heads"),
        (c.n_kv_heads >= 1, "n_kv_heads"), (c.head_dim >= 1, "head_dim"),
        (batch_size >= 0, "batch_size"), (length >= 0, "length"), (c.window >= 0, "window"),
        (c.n_sinks >= 0, "n_sinks"),
    ])
    _check_all([
        (c.n_query_heads % c.n_kv_heads == 0, "heads"),
        (0 <= c.n_window_layers <= c.n_layers, "n_window_layers"),
        (c.n_window_layers == 0 or c.window > 0, "window"),
    ])

    def vector(dtype):
        return c.head_dim + 4 if dtype == torch.int8 else (
            c.head_dim * dtype.itemsize)

    def layer(windowed):
        tokens = min(length, c.n_sinks + c.window) if windowed else length
        return 2 * c.n_kv_heads * tokens * vector(c.dtype)

    return batch_size * (c.n_window_layers * layer(True)
                         + (c.n_layers - c.n_window_layers) * layer(False))


def largest_batch(config, *, length, budget_bytes):
    _check_all([(budget_bytes >= 0, "budget_bytes"), (length != 0, "length")])

    def fits(n):
        return kv_bytes(config, batch_size=n, length=length) <= budget_bytes

    def search(lo, hi):
        """Largest n in lo ... hi - 1 that fits; lo does."""
        if hi - lo == 1:
            return lo
        mid = (lo + hi) // 2
        return search(mid, hi) if fits(mid) else search(lo, mid)

    def above(n):
        return above(2 * n) if fits(n) else n

    return search(0, above(1))
