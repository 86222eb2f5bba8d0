"""Flat memory and manual strides: one-dimensional buffers, shapes by as_strided."""

import math

import torch

Tensor = torch.Tensor
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def _bad(*conditions):
    if any(conditions):
        raise ValueError("an argument does not fit")


def _chunk(k, v, rows, heads, dim, dtype):
    _bad(k.dim() != 4, v.dim() != 4)
    _bad(k.size(0) != rows, k.size(1) != heads, k.size(3) != dim, k.dtype != dtype,
         v.dtype != dtype, v.size() != k.size())
    return k.size(2)


class KVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0,
                 device="cpu"):
        _bad(batch_size < 1, n_kv_heads < 1, head_dim < 1, capacity < 0)
        self._b, self._h, self._d = batch_size, n_kv_heads, head_dim
        self._cap, self._len = capacity, 0
        self._token = batch_size * n_kv_heads * head_dim
        # Memory [S, 2, B, H, D], flat: growing is a copy of the front.
        self._flat = torch.empty(capacity * 2 * self._token, dtype=dtype, device=device)

    @property
    def length(self):
        return self._len

    @property
    def capacity(self):
        return self._cap

    def _view(self, which, start, stop):
        size = (self._b, self._h, stop - start, self._d)
        stride = (self._h * self._d, self._d, 2 * self._token, 1)
        return self._flat.as_strided(size, stride, (2 * start + which) * self._token)

    def append(self, k_BHTD, v_BHTD):
        t = _chunk(k_BHTD, v_BHTD, self._b, self._h, self._d, self._flat.dtype)
        need = self._len + t
        if need > self._cap:
            cap = max(2 * self._cap, need)
            flat = self._flat.new_empty(cap * 2 * self._token)
            used = self._len * 2 * self._token
            flat[:used] = self._flat[:used]
            self._flat, self._cap = flat, cap
        if t:
            self._view(0, self._len, need).copy_(k_BHTD)
            self._view(1, self._len, need).copy_(v_BHTD)
        self._len = need

    def keys(self):
        return self._part(0)

    def values(self):
        return self._part(1)

    def _part(self, which):
        if self._len == 0:
            return self._flat.new_empty(self._b, self._h, 0, self._d)
        return self._view(which, 0, self._len)

    def truncate(self, length):
        _bad(length < 0, length > self._len)
        self._len = length


def _grouped(q, H):
    """[B, Hq, T, D] as [B * H, G * T, D], float32."""
    B, Hq, T, D = q.shape
    return q.float().contiguous().view(B * H, (Hq // H) * T, D)


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _bad(q_BHqTD.dim() != 4, k_BHSD.dim() != 4, v_BHSD.dim() != 4, lengths_B.dim() != 1)
    B, Hq, T, D = q_BHqTD.size()
    _, H, S, _ = k_BHSD.size()
    _bad(k_BHSD.size() != (B, H, S, D), v_BHSD.size() != (B, H, S, D), lengths_B.size() != (B,))
    _bad(T < 1, H < 1, H > 0 and Hq % max(H, 1) != 0)
    _bad(q_BHqTD.dtype not in _FLOATS, k_BHSD.dtype != q_BHqTD.dtype, v_BHSD.dtype != q_BHqTD.dtype,
         lengths_B.dtype != torch.int64)
    lengths = lengths_B.tolist()
    _bad(*[n < 0 or n > S for n in lengths])
    if scale is None:
        scale = math.pow(D, -0.5)
    longest = max(lengths, default=0)
    out = torch.zeros(B, Hq, T, D, dtype=q_BHqTD.dtype, device=q_BHqTD.device)
    if longest == 0:
        return out
    q = _grouped(q_BHqTD, H) * scale
    G = Hq // H
    acc = torch.zeros(B, H, G * T, D, device=q.device)
    for b in range(B):
        n = lengths[b]
        if n == 0:
            continue
        k, v = k_BHSD[b].narrow(1, 0, n), v_BHSD[b].narrow(1, 0, n)
        s = torch.bmm(q[b * H : (b + 1) * H], k.float().transpose(1, 2)).view(H, G, T, n)
        for t in range(T):
            seen = max(0, n - T + t + 1)
            part = s[:, :, t]
            part[..., seen:] = 0
            if seen:
                part[..., :seen] = torch.softmax(part[..., :seen], dim=-1)
        acc[b] = torch.bmm(s.view(H, G * T, n), v.float())
    return acc.view(B, Hq, T, D).to(out.dtype)


def _rope_table(count, dim, base, device):
    table = torch.empty(count, dim // 2, dtype=torch.float64, device=device)
    for i in range(dim // 2):
        table[:, i] = torch.arange(count, dtype=torch.float64, device=device) * base ** (-2 * i / dim)
    return table.cos().float(), table.sin().float()


def _rope(x, cos, sin):
    half = x.size(-1) // 2
    out = torch.empty_like(x)
    out[..., :half] = x[..., :half] * cos - x[..., half:] * sin
    out[..., half:] = x[..., half:] * cos + x[..., :half] * sin
    return out


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    _bad(prompt_BT.dim() != 2, prompt_BT.dtype != torch.int64, prompt_BT.numel() == 0)
    _bad(int(prompt_BT.min()) < 0, int(prompt_BT.max()) >= model.vocab_size, max_new_tokens < 0,
         temperature < 0)
    B, T = prompt_BT.shape
    N, V = max_new_tokens, model.vocab_size
    if temperature > 0:
        _bad(uniforms_BN is None)
        _bad(tuple(uniforms_BN.shape) != (B, N))
    dev = prompt_BT.device
    out_t = torch.zeros(N, B, dtype=torch.int64, device=dev)
    out_p = torch.zeros(N, B, dtype=torch.float32, device=dev)
    if N == 0:
        return out_t.T.contiguous(), out_p.T.contiguous()
    L, H, D = model.n_layers, model.n_kv_heads, model.head_dim
    G = model.n_heads // H
    M = T + N
    cos, sin = _rope_table(M, D, model.rope_base, dev)
    K = torch.empty(L * B * H * M * D, device=dev).view(L, B * H, M, D)
    Vv = torch.empty(L * B * H * M * D, device=dev).view(L, B * H, M, D)
    at = 0
    ids = prompt_BT

    def feed(ids, at):
        t = ids.size(1)
        hide = torch.full((t, at + t), -math.inf, device=dev).triu(at + 1)
        x = model.embed(ids)
        for layer in range(L):
            q, k, v = model.qkv(layer, x)
            K[layer, :, at : at + t] = _rope(k, cos[at : at + t], sin[at : at + t]).reshape(B * H, t, D)
            Vv[layer, :, at : at + t] = v.reshape(B * H, t, D)
            q = _rope(q, cos[at : at + t], sin[at : at + t]).reshape(B * H, G * t, D)
            s = torch.bmm(q, K[layer, :, : at + t].transpose(1, 2)).view(B * H, G, t, at + t)
            w = torch.softmax(s / math.sqrt(D) + hide, -1).view(B * H, G * t, at + t)
            a = torch.bmm(w, Vv[layer, :, : at + t])
            x = model.finish(layer, x, a.view(B, H * G, t, D))
        return model.logits(x[:, -1:])[:, 0]

    while at < T:
        piece = ids[:, at : at + model.max_tokens]
        z = feed(piece, at)
        at += piece.size(1)
    end = torch.zeros(B, dtype=torch.int64, device=dev)  # 1 from the step after eos on
    for n in range(N):
        if temperature > 0:
            lp = torch.log_softmax(z / temperature, -1)
            c = torch.cumsum(lp.double().exp(), -1)
            u = uniforms_BN[:, n].double()
            new = torch.empty(B, dtype=torch.int64, device=dev)
            for b in range(B):
                hits = torch.nonzero(c[b] > u[b])
                new[b] = hits[0, 0] if len(hits) else V - 1
        else:
            lp = torch.log_softmax(z, -1)
            new = torch.argmax(z, -1)
        out_p[n] = lp[range(B), new] * (1 - end)
        if eos_id is not None:
            new = new * (1 - end) + eos_id * end
            end = (new == eos_id).long()
        out_t[n] = new
        if n < N - 1:
            z = feed(new[:, None], at)
            at += 1
    return out_t.T.contiguous(), out_p.T.contiguous()


class SlidingWindowCache:
    """Flat memory [slot, 2, B, H, D]; a token is one piece of it."""

    def __init__(self, batch_size, n_kv_heads, head_dim, *, window, n_sinks=0,
                 dtype=torch.float32, device="cpu"):
        _bad(batch_size < 1, n_kv_heads < 1, head_dim < 1, window < 1, n_sinks < 0)
        self._b, self._h, self._d = batch_size, n_kv_heads, head_dim
        self._window, self._sinks, self._len = window, n_sinks, 0
        self._mem = torch.zeros(n_sinks + window, 2, batch_size, n_kv_heads, head_dim, dtype=dtype,
                                device=device)

    @property
    def length(self):
        return self._len

    def append(self, k_BHTD, v_BHTD):
        t = _chunk(k_BHTD, v_BHTD, self._b, self._h, self._d, self._mem.dtype)
        stop = self._len + t
        for p in range(self._len, stop):
            if p < self._sinks:
                slot = p
            elif p >= stop - self._window:
                slot = self._sinks + (p - self._sinks) % self._window
            else:
                continue
            self._mem[slot, 0] = k_BHTD.select(2, p - self._len)
            self._mem[slot, 1] = v_BHTD.select(2, p - self._len)
        self._len = stop

    def _n(self):
        return min(self._len, self._window + self._sinks)

    def keys(self):
        return self._mem[: self._n(), 0].permute(1, 2, 0, 3).contiguous()

    def values(self):
        return self._mem[: self._n(), 1].permute(1, 2, 0, 3).contiguous()

    def positions(self):
        out = []
        for slot in range(self._n()):
            p = slot
            while p >= self._sinks and p + self._window < self._len:
                p += self._window * max(1, (self._len - 1 - p) // self._window)
            out.append(p)
        return torch.tensor(out, dtype=torch.int64, device=self._mem.device)

    def mask(self, n_queries):
        _bad(n_queries < 1, n_queries > self._len)
        p = self.positions()
        out = torch.empty(n_queries, len(p), dtype=torch.bool, device=p.device)
        for t in range(n_queries):
            torch.le(p, self._len - n_queries + t, out=out[t])
        return out

    def truncate(self, length):
        _bad(length < 0, length > self._len)
        if length == self._len:
            return
        # The oldest token of the ring is gone as soon as the ring has been round once.
        _bad(length > self._sinks and self._len > self._sinks + self._window)
        self._len = length


class SlotCache:
    """Memory [slot * max_length + position, 2, H, D]: a row of `where` addresses a slot."""

    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        _bad(n_slots < 1, max_length < 1, n_kv_heads < 1, head_dim < 1)
        self._n, self._max, self._h, self._d = n_slots, max_length, n_kv_heads, head_dim
        self._mem = torch.zeros(n_slots * max_length, 2, n_kv_heads, head_dim, dtype=dtype,
                                device=device)
        self._fill = [0] * n_slots
        self._busy = [False] * n_slots

    @property
    def active(self):
        return [i for i in range(self._n) if self._busy[i]]

    def acquire(self):
        slot = next((i for i in range(self._n) if not self._busy[i]), None)
        if slot is None:
            raise RuntimeError("all slots are in use")
        self._busy[slot], self._fill[slot] = True, 0
        return slot

    def release(self, slot):
        _bad(slot not in self.active)
        self._busy[slot] = False

    def append(self, slots, k_RHTD, v_RHTD):
        busy = self.active
        _bad(len(set(slots)) < len(slots), *[s not in busy for s in slots])
        t = _chunk(k_RHTD, v_RHTD, len(slots), self._h, self._d, self._mem.dtype)
        _bad(*[self._fill[s] + t > self._max for s in slots])
        where = [s * self._max + self._fill[s] + i for s in slots for i in range(t)]
        if where:
            index = torch.tensor(where, device=self._mem.device)
            self._mem[index, 0] = k_RHTD.transpose(1, 2).reshape(-1, self._h, self._d)
            self._mem[index, 1] = v_RHTD.transpose(1, 2).reshape(-1, self._h, self._d)
        for s in slots:
            self._fill[s] += t

    def gather(self, slots):
        busy = self.active
        _bad(len(slots) == 0, *[s not in busy for s in slots])
        lengths = [self._fill[s] for s in slots]
        S = max(lengths)
        out = self._mem.new_zeros(2, len(slots), self._h, S, self._d)
        for r, (s, n) in enumerate(zip(slots, lengths)):
            out[:, r, :, :n] = self._mem[s * self._max : s * self._max + n].permute(1, 2, 0, 3)
        return out[0], out[1], torch.tensor(lengths, device=self._mem.device)


class QuantizedKVCache:
    """A list of packed blocks of 128 tokens; only the last one may have room."""

    BLOCK = 128

    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        _bad(batch_size < 1, n_kv_heads < 1, head_dim < 1)
        self._b, self._h, self._d, self._dtype = batch_size, n_kv_heads, head_dim, dtype
        self._dev, self._len, self._blocks = device, 0, []

    @property
    def length(self):
        return self._len

    def append(self, k_BHTD, v_BHTD):
        t = _chunk(k_BHTD, v_BHTD, self._b, self._h, self._d, self._dtype)
        done = 0
        while done < t:
            at = self._len % self.BLOCK
            if at == 0:
                shape = (2, self._b, self._h, self.BLOCK)
                self._blocks.append((
                    torch.zeros(*shape, self._d, dtype=torch.int8, device=self._dev),
                    torch.ones(*shape, device=self._dev)))
            count = min(self.BLOCK - at, t - done)
            q, s = self._blocks[-1]
            for which, x in enumerate((k_BHTD, v_BHTD)):
                part = x[:, :, done : done + count].float()
                largest = part.abs().amax(-1)
                scale = largest / 127
                scale[scale == 0] = 1.0
                s[which, :, :, at : at + count] = scale
                q[which, :, :, at : at + count] = torch.round(part / scale[..., None]).clamp(-127, 127)
            done += count
            self._len += count

    def _live(self):
        for i, (q, s) in enumerate(self._blocks):
            n = min(self.BLOCK, self._len - i * self.BLOCK)
            yield q[:, :, :, :n], s[:, :, :, :n]

    def _packed(self, which):
        q = [torch.empty(self._b, self._h, 0, self._d, dtype=torch.int8, device=self._dev)]
        s = [torch.empty(self._b, self._h, 0, device=self._dev)]
        for block_q, block_s in self._live():
            q.append(block_q[which])
            s.append(block_s[which])
        return torch.cat(q, 2), torch.cat(s, 2)

    def packed_keys(self):
        return self._packed(0)

    def packed_values(self):
        return self._packed(1)

    def keys(self):
        q, s = self._packed(0)
        return (q * s[..., None]).to(self._dtype)

    def values(self):
        q, s = self._packed(1)
        return (q * s[..., None]).to(self._dtype)

    def attend(self, q_BHqTD):
        _bad(q_BHqTD.dim() != 4, q_BHqTD.dtype != self._dtype)
        B, Hq, T, D = q_BHqTD.size()
        n, H = self._len, self._h
        _bad(B != self._b, D != self._d, Hq % H != 0, T < 1, T > n)
        rows = _grouped(q_BHqTD, H).view(B, H, -1, D) / math.sqrt(D)
        scores = []
        for q, s in self._live():
            scores.append(torch.matmul(rows, q[0].float().transpose(2, 3)) * s[0].unsqueeze(2))
        scores = torch.cat(scores, -1)
        own = torch.arange(n - T, n, device=rows.device).repeat(Hq // H)
        late = torch.arange(n, device=rows.device) > own[:, None]
        w = torch.softmax(scores.masked_fill_(late, -math.inf), -1)
        out = torch.zeros(B, H, rows.size(2), D, device=rows.device)
        for i, (q, s) in enumerate(self._live()):
            part = w[..., i * self.BLOCK : (i + 1) * self.BLOCK] * s[1].unsqueeze(2)
            out += torch.matmul(part, q[1].float())
        return out.view(B, Hq, T, D).to(self._dtype)


def kv_bytes(config, *, batch_size, length):
    c = config
    _bad(c.n_layers < 1, c.n_query_heads < 1, c.n_kv_heads < 1, c.head_dim < 1)
    _bad(batch_size < 0, length < 0, c.window < 0, c.n_sinks < 0)
    _bad(c.n_query_heads % c.n_kv_heads, c.n_window_layers < 0, c.n_window_layers > c.n_layers)
    _bad(c.n_window_layers > 0 and c.window == 0)
    vector = c.head_dim * c.dtype.itemsize
    vector += torch.float32.itemsize * (c.dtype is torch.int8)
    window_tokens = length if length < c.n_sinks + c.window else c.n_sinks + c.window
    per_head = length * (c.n_layers - c.n_window_layers) + window_tokens * c.n_window_layers
    return int(2 * c.n_kv_heads * batch_size * per_head * vector)


def largest_batch(config, *, length, budget_bytes):
    one = kv_bytes(config, batch_size=1, length=length)
    _bad(length < 1, budget_bytes < 0)
    return (budget_bytes - budget_bytes % one) // one
