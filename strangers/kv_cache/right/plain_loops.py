"""Plain loops: one row, one head, one query at a time."""

import math

import torch

Tensor = torch.Tensor


def _want_chunk(k, v, b, h, d, dtype):
    for x in (k, v):
        if x.dim() != 4:
            raise ValueError("rank must be 4")
        if x.shape[0] != b or x.shape[1] != h or x.shape[3] != d:
            raise ValueError("wrong shape")
        if x.dtype != dtype:
            raise ValueError("wrong dtype")
    if k.shape[2] != v.shape[2]:
        raise ValueError("keys and values differ in T")


def _at_least(low, **sizes):
    for name, size in sizes.items():
        if size < low:
            raise ValueError(f"{name} must be at least {low}")


class KVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0,
                 device="cpu"):
        _at_least(1, batch_size=batch_size, n_kv_heads=n_kv_heads, head_dim=head_dim)
        _at_least(0, capacity=capacity)
        self._b, self._h, self._d = batch_size, n_kv_heads, head_dim
        self._dtype, self._device = dtype, device
        self._k = torch.empty(batch_size, n_kv_heads, capacity, head_dim, dtype=dtype, device=device)
        self._v = torch.empty(batch_size, n_kv_heads, capacity, head_dim, dtype=dtype, device=device)
        self._n = 0

    @property
    def length(self):
        return self._n

    @property
    def capacity(self):
        return self._k.shape[2]

    def append(self, k_BHTD, v_BHTD):
        _want_chunk(k_BHTD, v_BHTD, self._b, self._h, self._d, self._dtype)
        t = k_BHTD.shape[2]
        end = self._n + t
        if end > self.capacity:
            room = max(2 * self.capacity, end)
            new = []
            for old in (self._k, self._v):
                buf = torch.empty(self._b, self._h, room, self._d, dtype=self._dtype,
                                  device=self._device)
                buf[:, :, : self._n] = old[:, :, : self._n]
                new.append(buf)
            self._k, self._v = new
        for i in range(t):
            self._k[:, :, self._n + i] = k_BHTD[:, :, i]
            self._v[:, :, self._n + i] = v_BHTD[:, :, i]
        self._n = end

    def keys(self):
        return self._k[:, :, : self._n]

    def values(self):
        return self._v[:, :, : self._n]

    def truncate(self, length):
        if length < 0 or length > self._n:
            raise ValueError("length out of range")
        self._n = length


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    if q_BHqTD.dim() != 4 or k_BHSD.dim() != 4 or v_BHSD.dim() != 4 or lengths_B.dim() != 1:
        raise ValueError("wrong rank")
    if q_BHqTD.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError("q must be float32, float16 or bfloat16")
    if k_BHSD.dtype != q_BHqTD.dtype or v_BHSD.dtype != q_BHqTD.dtype:
        raise ValueError("dtypes differ")
    if lengths_B.dtype != torch.int64:
        raise ValueError("lengths must be int64")
    B, Hq, T, D = q_BHqTD.shape
    H, S = k_BHSD.shape[1], k_BHSD.shape[2]
    if T < 1 or k_BHSD.shape != (B, H, S, D) or v_BHSD.shape != k_BHSD.shape:
        raise ValueError("sizes do not fit")
    if lengths_B.shape[0] != B or H < 1 or Hq % H != 0:
        raise ValueError("sizes do not fit")
    lengths = lengths_B.tolist()
    for n in lengths:
        if n < 0 or n > S:
            raise ValueError("length outside 0 ... S")
    if scale is None:
        scale = 1 / math.sqrt(D)
    G = Hq // H
    out = torch.zeros(B, Hq, T, D, dtype=q_BHqTD.dtype, device=q_BHqTD.device)
    for b in range(B):
        n = lengths[b]
        for h in range(H):
            if n == 0:
                continue
            k = k_BHSD[b, h, :n].float()
            v = v_BHSD[b, h, :n].float()
            for g in range(G):
                for t in range(T):
                    seen = n - T + t + 1
                    if seen <= 0:
                        continue
                    q = q_BHqTD[b, h * G + g, t].float()
                    s = (k[:seen] @ q) * scale
                    w = torch.exp(s - s.max())
                    out[b, h * G + g, t] = ((w @ v[:seen]) / w.sum()).to(out.dtype)
    return out


def _turn(x, start, base):
    """Rotate [B, heads, T, D], first token at `start`."""
    D, T = x.shape[3], x.shape[2]
    half = D // 2
    out = torch.empty_like(x)
    for t in range(T):
        angle = torch.tensor([(start + t) * base ** (-2 * i / D) for i in range(half)],
                             dtype=torch.float64, device=x.device)
        c, s = angle.cos().float(), angle.sin().float()
        a, b = x[:, :, t, :half], x[:, :, t, half:]
        out[:, :, t, :half] = a * c - b * s
        out[:, :, t, half:] = b * c + a * s
    return out


def _attend_one_by_one(q, k, v, start):
    """Causal attention of queries at start ... over keys 0 ..., float32."""
    B, Hq, T, D = q.shape
    H = k.shape[1]
    G = Hq // H
    out = torch.empty_like(q)
    for h in range(H):
        for t in range(T):
            kk, vv = k[:, h, : start + t + 1], v[:, h, : start + t + 1]
            for g in range(G):
                s = (kk * q[:, h * G + g, t][:, None, :]).sum(-1) / math.sqrt(D)
                w = torch.softmax(s, dim=-1)
                out[:, h * G + g, t] = (w[:, :, None] * vv).sum(1)
    return out


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    if prompt_BT.dtype != torch.int64 or prompt_BT.dim() != 2:
        raise ValueError("prompt must be int64 [B, T]")
    B, T = prompt_BT.shape
    if B < 1 or T < 1:
        raise ValueError("prompt is empty")
    if int(prompt_BT.min()) < 0 or int(prompt_BT.max()) >= model.vocab_size:
        raise ValueError("id outside the vocabulary")
    if max_new_tokens < 0 or temperature < 0:
        raise ValueError("negative max_new_tokens or temperature")
    N = max_new_tokens
    if temperature > 0:
        if not isinstance(uniforms_BN, torch.Tensor) or tuple(uniforms_BN.shape) != (B, N):
            raise ValueError("uniforms must be [B, N]")
    tokens = torch.zeros(B, N, dtype=torch.int64, device=prompt_BT.device)
    logprobs = torch.zeros(B, N, dtype=torch.float32, device=prompt_BT.device)
    if N == 0:
        return tokens, logprobs
    D = model.head_dim
    kbuf = [torch.zeros(B, model.n_kv_heads, T + N, D, device=prompt_BT.device)
            for _ in range(model.n_layers)]
    vbuf = [torch.zeros_like(x) for x in kbuf]

    def run(chunk, start):
        t = chunk.shape[1]
        x = model.embed(chunk)
        for layer in range(model.n_layers):
            q, k, v = model.qkv(layer, x)
            q = _turn(q, start, model.rope_base)
            kbuf[layer][:, :, start : start + t] = _turn(k, start, model.rope_base)
            vbuf[layer][:, :, start : start + t] = v
            x = model.finish(layer, x, _attend_one_by_one(q, kbuf[layer], vbuf[layer], start))
        return model.logits(x[:, -1:])[:, 0]

    z = None
    start = 0
    while start < T:
        end = min(T, start + model.max_tokens)
        z = run(prompt_BT[:, start:end], start)
        start = end
    ended = [False] * B
    for n in range(N):
        for b in range(B):
            if ended[b]:
                tokens[b, n] = eos_id
                continue
            if temperature == 0:
                logp = torch.log_softmax(z[b].float(), dim=-1)
                choice = int(z[b].argmax())
            else:
                logp = torch.log_softmax(z[b].float() / temperature, dim=-1)
                u, total, choice = float(uniforms_BN[b, n]), 0.0, model.vocab_size - 1
                for i, p in enumerate(logp.double().exp().tolist()):
                    total += p
                    if total > u:
                        choice = i
                        break
            tokens[b, n] = choice
            logprobs[b, n] = logp[choice]
            if eos_id is not None and choice == eos_id:
                ended[b] = True
        if n + 1 < N:
            z = run(tokens[:, n : n + 1], T + n)
    return tokens, logprobs


class SlidingWindowCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, window, n_sinks=0,
                 dtype=torch.float32, device="cpu"):
        _at_least(1, batch_size=batch_size, n_kv_heads=n_kv_heads, head_dim=head_dim, window=window)
        _at_least(0, n_sinks=n_sinks)
        self._b, self._h, self._d = batch_size, n_kv_heads, head_dim
        self._w, self._s, self._dtype = window, n_sinks, dtype
        self._k = torch.zeros(batch_size, n_kv_heads, n_sinks + window, head_dim, dtype=dtype,
                              device=device)
        self._v = torch.zeros_like(self._k)
        self._where = [-1] * (n_sinks + window)
        self._n = 0

    @property
    def length(self):
        return self._n

    def _slot(self, p):
        if p < self._s:
            return p
        return self._s + (p - self._s) % self._w

    def append(self, k_BHTD, v_BHTD):
        _want_chunk(k_BHTD, v_BHTD, self._b, self._h, self._d, self._dtype)
        for t in range(k_BHTD.shape[2]):
            slot = self._slot(self._n)
            self._k[:, :, slot] = k_BHTD[:, :, t]
            self._v[:, :, slot] = v_BHTD[:, :, t]
            self._where[slot] = self._n
            self._n += 1

    def _used(self):
        return [i for i, p in enumerate(self._where) if p >= 0]

    def keys(self):
        return self._k[:, :, self._used()]

    def values(self):
        return self._v[:, :, self._used()]

    def positions(self):
        return torch.tensor([p for p in self._where if p >= 0], dtype=torch.int64,
                            device=self._k.device)

    def mask(self, n_queries):
        if n_queries < 1 or n_queries > self._n:
            raise ValueError("n_queries out of range")
        held = [p for p in self._where if p >= 0]
        out = torch.zeros(n_queries, len(held), dtype=torch.bool, device=self._k.device)
        for t in range(n_queries):
            for j, p in enumerate(held):
                out[t, j] = p <= self._n - n_queries + t
        return out

    def truncate(self, length):
        if length < 0 or length > self._n:
            raise ValueError("length out of range")
        for p in range(length):
            if (p < self._s or p >= length - self._w) and self._where[self._slot(p)] != p:
                raise ValueError(f"token {p} has been overwritten")
        for i, p in enumerate(self._where):
            if p >= length:
                self._where[i] = -1
        self._n = length


class SlotCache:
    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        _at_least(1, n_slots=n_slots, max_length=max_length, n_kv_heads=n_kv_heads,
                  head_dim=head_dim)
        self._max, self._h, self._d, self._dtype = max_length, n_kv_heads, head_dim, dtype
        self._device = device
        self._k = torch.zeros(n_slots, n_kv_heads, max_length, head_dim, dtype=dtype, device=device)
        self._v = torch.zeros_like(self._k)
        self._len = [None] * n_slots

    @property
    def active(self):
        return [i for i, n in enumerate(self._len) if n is not None]

    def acquire(self):
        for i in range(len(self._len)):
            if self._len[i] is None:
                self._len[i] = 0
                return i
        raise RuntimeError("all slots are in use")

    def release(self, slot):
        if slot not in self.active:
            raise ValueError("slot is not in use")
        self._len[slot] = None

    def append(self, slots, k_RHTD, v_RHTD):
        seen = []
        for s in slots:
            if s in seen or s not in self.active:
                raise ValueError("slot named twice or not in use")
            seen.append(s)
        _want_chunk(k_RHTD, v_RHTD, len(slots), self._h, self._d, self._dtype)
        t = k_RHTD.shape[2]
        for s in slots:
            if self._len[s] + t > self._max:
                raise ValueError("slot would overflow")
        for r, s in enumerate(slots):
            n = self._len[s]
            self._k[s, :, n : n + t] = k_RHTD[r]
            self._v[s, :, n : n + t] = v_RHTD[r]
            self._len[s] = n + t

    def gather(self, slots):
        if len(slots) == 0:
            raise ValueError("no slot named")
        for s in slots:
            if s not in self.active:
                raise ValueError("slot is not in use")
        lengths = [self._len[s] for s in slots]
        S = max(lengths)
        k = torch.zeros(len(slots), self._h, S, self._d, dtype=self._dtype, device=self._device)
        v = torch.zeros_like(k)
        for r, s in enumerate(slots):
            k[r, :, : lengths[r]] = self._k[s, :, : lengths[r]]
            v[r, :, : lengths[r]] = self._v[s, :, : lengths[r]]
        return k, v, torch.tensor(lengths, dtype=torch.int64, device=self._device)


class QuantizedKVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        _at_least(1, batch_size=batch_size, n_kv_heads=n_kv_heads, head_dim=head_dim)
        self._b, self._h, self._d, self._dtype = batch_size, n_kv_heads, head_dim, dtype
        self._device = device
        self._q = [torch.empty(batch_size, n_kv_heads, 0, head_dim, dtype=torch.int8, device=device)
                   for _ in range(2)]
        self._s = [torch.empty(batch_size, n_kv_heads, 0, device=device) for _ in range(2)]
        self._n = 0

    @property
    def length(self):
        return self._n

    def append(self, k_BHTD, v_BHTD):
        _want_chunk(k_BHTD, v_BHTD, self._b, self._h, self._d, self._dtype)
        t = k_BHTD.shape[2]
        end = self._n + t
        if end > self._q[0].shape[2]:
            room = max(2 * self._q[0].shape[2], end)
            for i in range(2):
                q = torch.empty(self._b, self._h, room, self._d, dtype=torch.int8, device=self._device)
                s = torch.empty(self._b, self._h, room, device=self._device)
                q[:, :, : self._n] = self._q[i][:, :, : self._n]
                s[:, :, : self._n] = self._s[i][:, :, : self._n]
                self._q[i], self._s[i] = q, s
        for i, x in enumerate((k_BHTD, v_BHTD)):
            for j in range(t):
                token = x[:, :, j].float()
                largest = token.abs().amax(-1)
                scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
                scale = torch.where(scale > 0, scale, torch.ones_like(largest))
                self._s[i][:, :, self._n + j] = scale
                self._q[i][:, :, self._n + j] = (
                    (token / scale[..., None]).round().clamp(-127, 127).to(torch.int8))
        self._n = end

    def packed_keys(self):
        return self._q[0][:, :, : self._n], self._s[0][:, :, : self._n]

    def packed_values(self):
        return self._q[1][:, :, : self._n], self._s[1][:, :, : self._n]

    def keys(self):
        q, s = self.packed_keys()
        return (q.float() * s[..., None]).to(self._dtype)

    def values(self):
        q, s = self.packed_values()
        return (q.float() * s[..., None]).to(self._dtype)

    def attend(self, q_BHqTD):
        q = q_BHqTD
        if q.dim() != 4 or q.dtype != self._dtype:
            raise ValueError("q must be [B, Hq, T, D] with the cache's dtype")
        B, Hq, T, D = q.shape
        if B != self._b or D != self._d or Hq < 1 or Hq % self._h or not 1 <= T <= self._n:
            raise ValueError("q does not fit the cache")
        G = Hq // self._h
        out = torch.empty(B, Hq, T, D, dtype=q.dtype, device=q.device)
        kq, ks = self.packed_keys()
        vq, vs = self.packed_values()
        for b in range(B):
            for h in range(self._h):
                # One head of one row at a time is turned into floats, 512 tokens at once.
                rows = q[b, h * G : (h + 1) * G].float() / math.sqrt(D)
                parts = []
                for a in range(0, self._n, 512):
                    parts.append((rows @ kq[b, h, a : a + 512].float().T) * ks[b, h, a : a + 512])
                scores = torch.cat(parts, dim=-1)
                for t in range(T):
                    scores[:, t, self._n - T + t + 1 :] = -math.inf
                w = torch.softmax(scores, dim=-1) * vs[b, h]
                acc = torch.zeros(G, T, D, device=q.device)
                for a in range(0, self._n, 512):
                    acc += w[:, :, a : a + 512] @ vq[b, h, a : a + 512].float()
                out[b, h * G : (h + 1) * G] = acc.to(q.dtype)
        return out


def _check_config(c):
    for size in (c.n_layers, c.n_query_heads, c.n_kv_heads, c.head_dim):
        if size < 1:
            raise ValueError("sizes must be at least 1")
    if c.window < 0 or c.n_sinks < 0:
        raise ValueError("window and n_sinks must not be negative")
    if c.n_query_heads % c.n_kv_heads:
        raise ValueError("n_query_heads must be a multiple of n_kv_heads")
    if c.n_window_layers < 0 or c.n_window_layers > c.n_layers:
        raise ValueError("n_window_layers outside 0 ... n_layers")
    if c.n_window_layers > 0 and c.window == 0:
        raise ValueError("window layers need a window")


def kv_bytes(config, *, batch_size, length):
    _check_config(config)
    if batch_size < 0 or length < 0:
        raise ValueError("batch_size and length must not be negative")
    vector = config.head_dim * config.dtype.itemsize
    if config.dtype == torch.int8:
        vector += 4
    total = 0
    for layer in range(config.n_layers):
        if layer < config.n_window_layers:
            kept = min(length, config.n_sinks + config.window)
        else:
            kept = length
        total += 2 * batch_size * config.n_kv_heads * kept * vector
    return total


def largest_batch(config, *, length, budget_bytes):
    one = kv_bytes(config, batch_size=1, length=length)
    if length == 0 or budget_bytes < 0:
        raise ValueError("length must be positive, the budget not negative")
    return budget_bytes // one
