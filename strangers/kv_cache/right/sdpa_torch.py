"""As much as possible in torch's own functions."""

import math

import torch
import torch.nn.functional as F

Tensor = torch.Tensor


def _check_chunk(k, v, expected, dtype):
    want = torch.Size(expected)
    for name, x in (("keys", k), ("values", v)):
        if x.dim() != 4 or x.dtype is not dtype:
            raise ValueError(f"{name}: rank or dtype")
        if torch.Size([x.size(0), x.size(1), x.size(3)]) != want:
            raise ValueError(f"{name}: shape {tuple(x.shape)}")
    if k.size(2) != v.size(2):
        raise ValueError("different numbers of tokens")


def _resize(buffer, used, room):
    grown = torch.empty(*buffer.shape[:2], room, *buffer.shape[3:], dtype=buffer.dtype,
                        device=buffer.device)
    grown.narrow(2, 0, used).copy_(buffer.narrow(2, 0, used))
    return grown


class KVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0,
                 device="cpu"):
        if any(s < 1 for s in (batch_size, n_kv_heads, head_dim)) or capacity < 0:
            raise ValueError("size below its minimum")
        make = torch.empty
        self.k = make(batch_size, n_kv_heads, capacity, head_dim, dtype=dtype, device=device)
        self.v = make(batch_size, n_kv_heads, capacity, head_dim, dtype=dtype, device=device)
        self.n = 0

    @property
    def length(self):
        return self.n

    @property
    def capacity(self):
        return self.k.size(2)

    def append(self, k_BHTD, v_BHTD):
        b, h, _, d = self.k.shape
        _check_chunk(k_BHTD, v_BHTD, (b, h, d), self.k.dtype)
        t = k_BHTD.size(2)
        if self.n + t > self.capacity:
            room = max(2 * self.capacity, self.n + t)
            self.k, self.v = _resize(self.k, self.n, room), _resize(self.v, self.n, room)
        index = torch.arange(self.n, self.n + t, device=self.k.device)
        self.k.index_copy_(2, index, k_BHTD)
        self.v.index_copy_(2, index, v_BHTD)
        self.n += t

    def keys(self):
        return self.k.narrow(2, 0, self.n)

    def values(self):
        return self.v.narrow(2, 0, self.n)

    def truncate(self, length):
        if length not in range(self.n + 1):
            raise ValueError("length out of range")
        self.n = length


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    q, k, v = q_BHqTD, k_BHSD, v_BHSD
    if {q.dim(), k.dim(), v.dim()} != {4} or lengths_B.dim() != 1:
        raise ValueError("rank")
    if q.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError("dtype of q")
    if k.dtype != q.dtype or v.dtype != q.dtype or lengths_B.dtype != torch.int64:
        raise ValueError("dtype")
    (B, Hq, T, D), H, S = q.shape, k.size(1), k.size(2)
    if k.shape != v.shape or k.size(0) != B or k.size(3) != D or lengths_B.size(0) != B:
        raise ValueError("size")
    if T == 0 or H == 0 or Hq % H:
        raise ValueError("T or heads")
    lengths = lengths_B.tolist()
    if any(n < 0 or n > S for n in lengths):
        raise ValueError("length")
    scale = 1 / math.sqrt(D) if scale is None else float(scale)
    out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    for b, n in enumerate(lengths):
        t = min(T, n)  # the first T - t queries see nothing
        if t == 0:
            continue
        see = torch.ones(t, n, dtype=torch.bool, device=q.device).tril(n - t)
        group = q[b, :, T - t :].float().unflatten(0, (H, Hq // H)).flatten(1, 2)
        att = F.scaled_dot_product_attention(
            group, k[b, :, :n].float(), v[b, :, :n].float(),
            attn_mask=see.repeat(Hq // H, 1), scale=scale)
        out[b, :, T - t :] = att.view(Hq, t, D).to(q.dtype)
    return out


def _rope(x, cos_sin):
    """As complex numbers: pair i is x[i] + i x[i + D/2]."""
    z = torch.complex(*x.float().chunk(2, dim=-1)) * cos_sin
    return torch.cat([z.real, z.imag], dim=-1)


@torch.no_grad()
def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    N = max_new_tokens
    if prompt_BT.dim() != 2 or prompt_BT.dtype != torch.int64 or 0 in prompt_BT.shape:
        raise ValueError("prompt")
    lo, hi = torch.aminmax(prompt_BT)
    if lo < 0 or hi > model.vocab_size - 1:
        raise ValueError("token id")
    if N < 0 or temperature < 0:
        raise ValueError("negative argument")
    B, T = prompt_BT.shape
    if temperature > 0 and (uniforms_BN is None or uniforms_BN.shape != torch.Size([B, N])):
        raise ValueError("uniforms")
    dev = prompt_BT.device
    tokens = torch.empty(B, N, dtype=torch.int64, device=dev)
    logprobs = torch.zeros(B, N, device=dev)
    if N == 0:
        return tokens, logprobs
    D, H = model.head_dim, model.n_kv_heads
    theta = torch.exp(torch.arange(D // 2, dtype=torch.float64, device=dev)
                      * (-2 * math.log(model.rope_base) / D))
    angle = torch.outer(torch.arange(T + N, dtype=torch.float64, device=dev), theta)
    turn = torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
    K = torch.zeros(model.n_layers, B, H, T + N, D, device=dev)
    V = torch.zeros_like(K)

    def forward(ids, start):
        t = ids.size(1)
        x = model.embed(ids)
        see = torch.ones(t, start + t, dtype=torch.bool, device=dev).tril(start)
        for layer in range(model.n_layers):
            q, k, v = model.qkv(layer, x)
            K[layer].narrow(2, start, t).copy_(_rope(k, turn[start : start + t]))
            V[layer].narrow(2, start, t).copy_(v)
            q = _rope(q, turn[start : start + t]).unflatten(1, (H, -1)).flatten(2, 3)
            G = model.n_heads // H
            att = F.scaled_dot_product_attention(
                q, K[layer, :, :, : start + t], V[layer, :, :, : start + t],
                attn_mask=see.repeat(G, 1))
            x = model.finish(layer, x, att.reshape(B, H * G, t, D))
        return model.logits(x[:, -1:]).squeeze(1)

    start = 0
    for chunk in torch.split(prompt_BT, model.max_tokens, dim=1):
        z = forward(chunk, start)
        start += chunk.size(1)
    ended = torch.zeros(B, dtype=torch.bool, device=dev)
    for n in range(N):
        if temperature:
            p = F.log_softmax(z / temperature, dim=-1)
            cum = p.double().exp().cumsum(-1)
            u = uniforms_BN[:, n : n + 1].double().contiguous()
            pick = torch.searchsorted(cum, u, right=True)[:, 0].clamp(max=model.vocab_size - 1)
        else:
            p = F.log_softmax(z, dim=-1)
            pick = z.max(dim=-1).indices
        lp = torch.take_along_dim(p, pick[:, None], dim=1)[:, 0]
        if eos_id is not None:
            pick.masked_fill_(ended, eos_id)
            lp = lp.masked_fill(ended, 0.0)
            ended = ended.logical_or(pick.eq(eos_id))
        tokens[:, n] = pick
        logprobs[:, n] = lp
        if ended.all():
            tokens[:, n + 1 :] = eos_id
            break
        if n < N - 1:
            z = forward(pick.masked_fill(ended, 0)[:, None], start + n)
    return tokens, logprobs


class SlidingWindowCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, window, n_sinks=0,
                 dtype=torch.float32, device="cpu"):
        if any(s < 1 for s in (batch_size, n_kv_heads, head_dim, window)) or n_sinks < 0:
            raise ValueError("size below its minimum")
        self.w, self.s, self.n = window, n_sinks, 0
        self.k = torch.zeros(batch_size, n_kv_heads, n_sinks + window, head_dim, dtype=dtype,
                             device=device)
        self.v = torch.zeros_like(self.k)
        self.pos = torch.full((n_sinks + window,), -1, dtype=torch.int64, device=device)

    @property
    def length(self):
        return self.n

    def append(self, k_BHTD, v_BHTD):
        b, h, _, d = self.k.shape
        _check_chunk(k_BHTD, v_BHTD, (b, h, d), self.k.dtype)
        t = k_BHTD.size(2)
        head = max(0, min(t, self.s - self.n))
        tail = min(t - head, self.w)
        for first, count in ((0, head), (t - tail, tail)):
            p = self.n + first + torch.arange(count, device=self.k.device)
            slot = p if first + count <= head else self.s + torch.remainder(p - self.s, self.w)
            self.k.index_copy_(2, slot, k_BHTD.narrow(2, first, count))
            self.v.index_copy_(2, slot, v_BHTD.narrow(2, first, count))
            self.pos.index_copy_(0, slot, p)
        self.n += t

    def keys(self):
        return self.k.index_select(2, self.pos.ge(0).nonzero()[:, 0])

    def values(self):
        return self.v.index_select(2, self.pos.ge(0).nonzero()[:, 0])

    def positions(self):
        return torch.masked_select(self.pos, self.pos.ge(0))

    def mask(self, n_queries):
        if not 1 <= n_queries <= self.n:
            raise ValueError("n_queries")
        own = torch.arange(self.n - n_queries, self.n, device=self.k.device)
        return torch.le(self.positions().unsqueeze(0), own.unsqueeze(1))

    def truncate(self, length):
        if not 0 <= length <= self.n:
            raise ValueError("length")
        kept = torch.masked_select(self.pos, self.pos.ge(0) & self.pos.lt(length))
        if kept.numel() != min(length, self.s + self.w):
            raise ValueError("a token has been overwritten")
        self.pos.masked_fill_(self.pos.ge(length), -1)
        self.n = length


class SlotCache:
    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        if any(s < 1 for s in (n_slots, max_length, n_kv_heads, head_dim)):
            raise ValueError("size below its minimum")
        self.k = torch.zeros(n_slots, n_kv_heads, max_length, head_dim, dtype=dtype, device=device)
        self.v = torch.zeros_like(self.k)
        self.used = torch.zeros(n_slots, dtype=torch.bool, device=device)
        self.len = torch.zeros(n_slots, dtype=torch.int64, device=device)

    @property
    def active(self):
        return torch.nonzero(self.used).flatten().tolist()

    def acquire(self):
        if torch.all(self.used):
            raise RuntimeError("all slots are in use")
        slot = int(torch.argmin(self.used.int()))
        self.used[slot] = True
        self.len[slot] = 0
        return slot

    def _known(self, slots):
        for s in slots:
            if not 0 <= s < self.used.numel() or not self.used[s]:
                raise ValueError(f"slot {s} is not in use")

    def release(self, slot):
        self._known([slot])
        self.used[slot] = False
        self.k[slot].zero_()
        self.v[slot].zero_()

    def append(self, slots, k_RHTD, v_RHTD):
        self._known(slots)
        index = torch.tensor(slots, dtype=torch.int64, device=self.len.device)
        if torch.unique(index).numel() != index.numel():
            raise ValueError("a slot is named twice")
        _, h, m, d = self.k.shape
        _check_chunk(k_RHTD, v_RHTD, (len(slots), h, d), self.k.dtype)
        t = k_RHTD.size(2)
        if torch.any(self.len[index] + t > m):
            raise ValueError("overflow")
        for r, s in enumerate(slots):
            self.k[s].narrow(1, int(self.len[s]), t).copy_(k_RHTD[r])
            self.v[s].narrow(1, int(self.len[s]), t).copy_(v_RHTD[r])
        self.len.index_add_(0, index, torch.full_like(index, t))

    def gather(self, slots):
        if len(slots) == 0:
            raise ValueError("no slot is named")
        self._known(slots)
        lengths = self.len[torch.tensor(slots, device=self.len.device)]
        S = int(lengths.max())
        def padded(buf):
            rows = [F.pad(buf[s, :, :n], (0, 0, 0, S - n)) for s, n in zip(slots, lengths.tolist())]
            return torch.stack(rows)
        return padded(self.k), padded(self.v), lengths


class QuantizedKVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        if any(s < 1 for s in (batch_size, n_kv_heads, head_dim)):
            raise ValueError("size below its minimum")
        self.shape, self.dtype, self.n = (batch_size, n_kv_heads, head_dim), dtype, 0
        zero = torch.zeros(batch_size, n_kv_heads, 0, head_dim, dtype=torch.int8, device=device)
        self.kq, self.vq = zero, zero.clone()
        self.ks = torch.zeros(batch_size, n_kv_heads, 0, device=device)
        self.vs = self.ks.clone()

    @property
    def length(self):
        return self.n

    @staticmethod
    def _pack(x):
        x = x.to(torch.float32)
        norm = torch.linalg.vector_norm(x, ord=math.inf, dim=-1)
        scale = norm.div(127.0)
        scale = torch.where(scale.eq(0), torch.ones_like(scale), scale)
        return torch.clamp(torch.round(x / scale.unsqueeze(-1)), -127, 127).to(torch.int8), scale

    def append(self, k_BHTD, v_BHTD):
        _check_chunk(k_BHTD, v_BHTD, self.shape, self.dtype)
        t, n = k_BHTD.size(2), self.n
        packed = (*self._pack(k_BHTD), *self._pack(v_BHTD))
        buffers = [self.kq, self.ks, self.vq, self.vs]
        if n + t > self.kq.size(2):
            room = max(2 * self.kq.size(2), n + t)
            buffers = [_resize(x, n, room) for x in buffers]
        for buf, x in zip(buffers, packed):
            buf.narrow(2, n, t).copy_(x)
        self.kq, self.ks, self.vq, self.vs = buffers
        self.n += t

    def packed_keys(self):
        return self.kq.narrow(2, 0, self.n), self.ks.narrow(2, 0, self.n)

    def packed_values(self):
        return self.vq.narrow(2, 0, self.n), self.vs.narrow(2, 0, self.n)

    def keys(self):
        return torch.mul(self.kq[:, :, : self.n], self.ks[:, :, : self.n, None]).to(self.dtype)

    def values(self):
        return torch.mul(self.vq[:, :, : self.n], self.vs[:, :, : self.n, None]).to(self.dtype)

    def attend(self, q_BHqTD):
        q, n = q_BHqTD, self.n
        B, H, D = self.shape
        if q.dim() != 4 or q.dtype is not self.dtype:
            raise ValueError("rank or dtype of q")
        _, Hq, T, _ = q.shape
        if q.size(0) != B or q.size(3) != D or Hq % H or T < 1 or T > n:
            raise ValueError("size of q")
        G = Hq // H
        q = q.float().unflatten(1, (H, G)).flatten(2, 3) * (1 / math.sqrt(D))
        pieces = [torch.matmul(q, kq.float().mT)
                  for kq in self.kq[:, :, :n].split(256, dim=2)]
        scores = torch.cat(pieces, dim=-1) * self.ks[:, :, None, :n]
        see = torch.ones(T, n, dtype=torch.bool, device=q.device).tril(n - T).repeat(G, 1)
        w = F.softmax(scores.masked_fill(~see, -math.inf), dim=-1) * self.vs[:, :, None, :n]
        out = torch.zeros_like(q)
        for w_part, vq in zip(w.split(256, dim=-1), self.vq[:, :, :n].split(256, dim=2)):
            out = out + torch.matmul(w_part, vq.float())
        return out.reshape(B, Hq, T, D).to(self.dtype)


_BYTES = {torch.int8: 1, torch.float16: 2, torch.bfloat16: 2, torch.float32: 4, torch.float64: 8}


def kv_bytes(config, *, batch_size, length):
    if any(x < 1 for x in (config.n_layers, config.n_query_heads, config.n_kv_heads,
                           config.head_dim)):
        raise ValueError("size below 1")
    if any(x < 0 for x in (batch_size, length, config.window, config.n_sinks)):
        raise ValueError("negative size")
    if config.n_query_heads % config.n_kv_heads:
        raise ValueError("heads")
    if config.n_window_layers not in range(config.n_layers + 1):
        raise ValueError("n_window_layers")
    if config.n_window_layers and not config.window:
        raise ValueError("window")
    width = _BYTES.get(config.dtype) or torch.tensor([], dtype=config.dtype).element_size()
    token = config.head_dim * width + (4 if config.dtype == torch.int8 else 0)
    full = (config.n_layers - config.n_window_layers) * length
    short = config.n_window_layers * min(length, config.window + config.n_sinks)
    return (full + short) * token * 2 * config.n_kv_heads * batch_size


def largest_batch(config, *, length, budget_bytes):
    if length == 0:
        raise ValueError("length is 0")
    if budget_bytes < 0:
        raise ValueError("negative budget")
    return divmod(budget_bytes, kv_bytes(config, batch_size=1, length=length))[0]
