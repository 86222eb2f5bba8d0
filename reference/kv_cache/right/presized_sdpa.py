"""Buffers made for the largest case, index arithmetic, and torch's own attention in float32."""

import math

import torch
from torch.nn.functional import scaled_dot_product_attention

ROOM = 64


def need(condition):
    if not condition:
        raise ValueError("bad argument")


def need_pair(k, v, shape, dtype):
    """Require two tensors of `shape`, whose -1 stands for any size."""
    for x in (k, v):
        need(x.dim() == len(shape) and x.dtype == dtype)
        need(all(want in (-1, got) for want, got in zip(shape, x.shape, strict=True)))
    need(k.shape == v.shape)


class Table:
    """Rows of tokens: [2, rows, room, heads, dim], twice as large when they are full."""

    def __init__(self, rows, heads, dim, dtype, device, room=ROOM):
        need(rows >= 1 and heads >= 1 and dim >= 1)
        self.kv = torch.zeros(2, rows, room, heads, dim, dtype=dtype, device=device)

    def write(self, row_index, token_index, k, v):
        """Write k, v [R, H, T, D] at rows [R, 1] and tokens [R, T]."""
        last = int(token_index.max()) + 1 if token_index.numel() else 0
        while last > self.kv.shape[2]:
            self.kv = torch.cat((self.kv, torch.zeros_like(self.kv)), dim=2)
        self.kv[0][row_index, token_index] = k.transpose(1, 2)
        self.kv[1][row_index, token_index] = v.transpose(1, 2)

    def read(self, which, rows, tokens):
        return self.kv[which][rows][:, tokens].transpose(1, 2)


class KVCache:
    def __init__(
        self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0, device="cpu"
    ):
        need(capacity >= 0)
        room = max(capacity, ROOM)
        self.table = Table(batch_size, n_kv_heads, head_dim, dtype, device, room=room)
        self.shape = (batch_size, n_kv_heads, -1, head_dim)
        self.rows = torch.arange(batch_size)[:, None]
        self.length, self.capacity = 0, capacity

    def append(self, k_BHTD, v_BHTD):
        need_pair(k_BHTD, v_BHTD, self.shape, self.table.kv.dtype)
        stop = self.length + k_BHTD.shape[2]
        at = torch.arange(self.length, stop).expand(len(self.rows), -1)
        self.table.write(self.rows, at, k_BHTD, v_BHTD)
        self.length = stop
        if stop > self.capacity:
            self.capacity = max(2 * self.capacity, stop)

    def keys(self):
        return self.table.read(0, slice(None), slice(0, self.length))

    def values(self):
        return self.table.read(1, slice(None), slice(0, self.length))

    def truncate(self, length):
        need(length in range(self.length + 1))
        self.length = length


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    need(q_BHqTD.dim() == 4 and k_BHSD.dim() == 4)
    B, Hq, T, D = q_BHqTD.shape
    need(q_BHqTD.dtype in (torch.float32, torch.float16, torch.bfloat16))
    need_pair(k_BHSD, v_BHSD, (B, -1, -1, D), q_BHqTD.dtype)
    H, S = k_BHSD.shape[1:3]
    need(T > 0 and H > 0 and Hq > 0 and Hq % H == 0)
    need(lengths_B.shape == (B,) and lengths_B.dtype == torch.int64)
    need(int(lengths_B.min()) >= 0 and int(lengths_B.max()) <= S)
    out = torch.zeros(B, Hq, T, D, dtype=q_BHqTD.dtype, device=q_BHqTD.device)
    for b, length in enumerate(lengths_B.tolist()):
        first = max(T - length, 0)  # queries before this one see nothing
        if length == 0:
            continue
        count = T - first
        mask = torch.ones(count, length, dtype=torch.bool, device=out.device)
        mask = mask.tril(length - count).repeat(Hq // H, 1)
        # One group's queries are rows of one head, so that its keys are read in place.
        q = q_BHqTD[b, :, first:].float().reshape(1, H, Hq // H * count, D)
        k, v = (x[None, b, :, :length].float() for x in (k_BHSD, v_BHSD))
        got = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
        out[b, :, first:] = got.reshape(Hq, count, D).to(out.dtype)
    return out


def rotated(x, angles_TD):
    half = x.shape[-1] // 2
    swapped = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * angles_TD.cos().float() + swapped * angles_TD.sin().float()


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    need(prompt_BT.dim() == 2 and prompt_BT.dtype == torch.int64 and prompt_BT.numel() > 0)
    need(bool(((prompt_BT >= 0) & (prompt_BT < model.vocab_size)).all()))
    need(max_new_tokens >= 0 and temperature >= 0)
    B, T = prompt_BT.shape
    if temperature > 0:
        need(uniforms_BN is not None and uniforms_BN.shape == (B, max_new_tokens))
    D = model.head_dim
    speeds = torch.tensor([model.rope_base ** (-2 * i / D) for i in range(D // 2)] * 2)
    angles = torch.arange(T + max_new_tokens)[:, None] * speeds.double()
    caches = [KVCache(B, model.n_kv_heads, D) for _ in range(model.n_layers)]
    everything = torch.cat((prompt_BT, prompt_BT.new_zeros(B, max_new_tokens)), dim=1)
    logprobs = torch.zeros(B, max_new_tokens)
    alive = set(range(B))
    done = 0
    for n in range(max_new_tokens):
        while done < T + n:
            stop = min(done + model.max_tokens, T + n)
            x = model.embed(everything[:, done:stop])
            for layer, cache in enumerate(caches):
                q, k, v = model.qkv(layer, x)
                cache.append(rotated(k, angles[done:stop]), v)
                args = (cache.keys(), cache.values(), torch.full((B,), stop))
                x = model.finish(layer, x, decode_attention(rotated(q, angles[done:stop]), *args))
            done = stop
        z = model.logits(x)[:, -1] / (temperature if temperature > 0 else 1.0)
        logp = torch.log_softmax(z, dim=-1)
        for b in range(B):
            token = int(z[b].argmax())
            if b not in alive:
                everything[b, T + n] = eos_id
                continue
            if temperature > 0:
                token, total, goal = 0, math.exp(logp[b, 0]), float(uniforms_BN[b, n])
                while total <= goal and token < model.vocab_size - 1:
                    token += 1
                    total += math.exp(logp[b, token])
            everything[b, T + n], logprobs[b, n] = token, logp[b, token]
            if token == eos_id:
                alive.discard(b)
    return everything[:, T:], logprobs


class SlidingWindowCache:
    def __init__(
        self,
        batch_size,
        n_kv_heads,
        head_dim,
        *,
        window,
        n_sinks=0,
        dtype=torch.float32,
        device="cpu",
    ):
        need(window >= 1 and n_sinks >= 0)
        room = window + n_sinks
        self.table = Table(batch_size, n_kv_heads, head_dim, dtype, device, room)
        self.at = torch.full((room,), -1)  # position in each slot; -1 marks a free one
        self.shape = (batch_size, n_kv_heads, -1, head_dim)
        self.rows = torch.arange(batch_size)[:, None]
        self.window, self.sinks, self.length = window, n_sinks, 0

    def append(self, k_BHTD, v_BHTD):
        need_pair(k_BHTD, v_BHTD, self.shape, self.table.kv.dtype)
        for t in range(k_BHTD.shape[2]):
            p = self.length
            slot = p if p < self.sinks else self.sinks + (p - self.sinks) % self.window
            where = torch.full((len(self.rows), 1), slot)
            self.table.write(self.rows, where, k_BHTD[:, :, t : t + 1], v_BHTD[:, :, t : t + 1])
            self.at[slot] = p
            self.length = p + 1

    def keys(self):
        return self.table.read(0, slice(None), self.at >= 0)

    def values(self):
        return self.table.read(1, slice(None), self.at >= 0)

    def positions(self):
        return self.at[self.at >= 0]

    def mask(self, n_queries):
        need(1 <= n_queries <= self.length)
        own = torch.arange(n_queries) + self.length - n_queries
        return torch.le(self.positions().expand(n_queries, -1), own[:, None])

    def truncate(self, length):
        need(0 <= length <= self.length)
        kept = self.at[(self.at >= 0) & (self.at < length)]
        need(len(kept) == min(length, self.sinks + self.window))
        self.at[self.at >= length] = -1
        self.length = length


class SlotCache:
    def __init__(
        self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"
    ):
        need(n_slots >= 1 and max_length >= 1)
        self.table = Table(n_slots, n_kv_heads, head_dim, dtype, device, max_length)
        self.lengths = [-1] * n_slots  # -1 marks a free slot
        self.shape = (n_kv_heads, -1, head_dim)

    @property
    def active(self):
        return [slot for slot, length in enumerate(self.lengths) if length >= 0]

    def acquire(self):
        free = [slot for slot, length in enumerate(self.lengths) if length < 0]
        if not free:
            raise RuntimeError("full")
        self.lengths[free[0]] = 0
        self.table.kv[:, free[0]] = 0
        return free[0]

    def release(self, slot):
        need(slot in self.active)
        self.lengths[slot] = -1

    def append(self, slots, k_RHTD, v_RHTD):
        need(all(slot in self.active for slot in slots) and len(slots) == len(set(slots)))
        need_pair(k_RHTD, v_RHTD, (len(slots), *self.shape), self.table.kv.dtype)
        count = k_RHTD.shape[2]
        starts = torch.tensor([self.lengths[slot] for slot in slots], dtype=torch.int64)
        need(not slots or int(starts.max()) + count <= self.table.kv.shape[2])
        at = starts[:, None] + torch.arange(count)
        self.table.write(torch.tensor(slots, dtype=torch.int64)[:, None], at, k_RHTD, v_RHTD)
        for slot in slots:
            self.lengths[slot] += count

    def gather(self, slots):
        need(len(slots) > 0 and all(slot in self.active for slot in slots))
        lengths = torch.tensor([self.lengths[slot] for slot in slots])
        tokens = slice(0, int(lengths.max()))
        return self.table.read(0, slots, tokens), self.table.read(1, slots, tokens), lengths


class QuantizedKVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        self.dtype = dtype
        self.shape = (batch_size, n_kv_heads, -1, head_dim)
        self.numbers = KVCache(batch_size, n_kv_heads, head_dim, dtype=torch.int8, device=device)
        self.scales = KVCache(batch_size, n_kv_heads, 1, device=device)

    @property
    def length(self):
        return self.numbers.length

    def append(self, k_BHTD, v_BHTD):
        need_pair(k_BHTD, v_BHTD, self.shape, self.dtype)
        both = torch.stack((k_BHTD, v_BHTD)).float()
        scales = both.abs().amax(-1, keepdim=True) / 127
        scales[scales == 0] = 1
        numbers = (both / scales).round().to(torch.int8)
        self.numbers.append(numbers[0], numbers[1])
        self.scales.append(scales[0], scales[1])

    def packed_keys(self):
        return self.numbers.keys(), self.scales.keys().squeeze(-1)

    def packed_values(self):
        return self.numbers.values(), self.scales.values().squeeze(-1)

    def keys(self):
        return (self.numbers.keys() * self.scales.keys()).to(self.dtype)

    def values(self):
        return (self.numbers.values() * self.scales.values()).to(self.dtype)

    def attend(self, q_BHqTD):
        B, H, _, D = self.shape
        need(q_BHqTD.dim() == 4 and q_BHqTD.dtype == self.dtype)
        need(q_BHqTD.shape[0] == B and q_BHqTD.shape[3] == D)
        need(q_BHqTD.shape[1] >= H and q_BHqTD.shape[1] % H == 0)
        need(1 <= q_BHqTD.shape[2] <= self.length)
        lengths = torch.full((B,), self.length)
        out = []
        for h, q in enumerate(q_BHqTD.float().chunk(H, dim=1)):  # one head's floats at a time
            one = slice(h, h + 1)
            k = self.numbers.keys()[:, one] * self.scales.keys()[:, one]
            v = self.numbers.values()[:, one] * self.scales.values()[:, one]
            out.append(decode_attention(q, k, v, lengths))
        return torch.cat(out, dim=1).to(self.dtype)


def kv_bytes(config, *, batch_size, length):
    for size in (config.n_layers, config.n_query_heads, config.n_kv_heads, config.head_dim):
        need(size >= 1)
    for count in (config.window, config.n_sinks, config.n_window_layers, batch_size, length):
        need(count >= 0)
    need(config.n_query_heads % config.n_kv_heads == 0)
    need(config.n_window_layers <= config.n_layers)
    need(config.window >= 1 or config.n_window_layers == 0)
    bits = 8 * torch.tensor([], dtype=config.dtype).element_size() * config.head_dim
    bits += 32 if config.dtype == torch.int8 else 0
    windowed = min(config.window + config.n_sinks, length)
    full_layers = config.n_layers - config.n_window_layers
    vectors = full_layers * length + config.n_window_layers * windowed
    return vectors * config.n_kv_heads * batch_size * bits // 4


def largest_batch(config, *, length, budget_bytes):
    need(budget_bytes >= 0 and length != 0)
    one = kv_bytes(config, batch_size=1, length=length)
    return (budget_bytes - budget_bytes % one) // one
