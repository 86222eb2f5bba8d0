"""Lists of chunks, joined when somebody looks; plain loops; exact rules spelt out."""

import math

import torch


def check(fine, message):
    if not fine:
        raise ValueError(message)


def check_positive(*numbers):
    check(min(numbers) > 0, f"sizes must be positive: {numbers}")


class Chunks:
    """Chunks [B, H, T, D] along dimension 2."""

    def __init__(self, rows, heads, dim, dtype, device="cpu"):
        check_positive(rows, heads, dim)
        self.form = (rows, heads, dim)
        self.dtype = dtype
        self.parts = [torch.zeros(rows, heads, 0, dim, dtype=dtype, device=device)]

    def accepts(self, x):
        check(x.ndim == 4, "four dimensions are needed")
        check((x.shape[0], x.shape[1], x.shape[3]) == self.form, f"wrong shape {x.shape}")
        check(x.dtype == self.dtype, f"wrong dtype {x.dtype}")

    def add(self, x):
        self.parts.append(x.clone())

    def whole(self):
        if len(self.parts) > 1:
            self.parts = [torch.cat(self.parts, dim=2)]
        return self.parts[0]

    def keep(self, slots):
        self.parts = [self.whole()[:, :, slots].clone()]


def accept_both(store, k, v):
    store.accepts(k)
    store.accepts(v)
    check(k.shape == v.shape, "k and v have different numbers of tokens")


class KVCache:
    def __init__(
        self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0, device="cpu"
    ):
        check(capacity >= 0, "capacity is negative")
        self.k = Chunks(batch_size, n_kv_heads, head_dim, dtype, device)
        self.v = Chunks(batch_size, n_kv_heads, head_dim, dtype, device)
        self.length = 0
        self.capacity = capacity

    def append(self, k_BHTD, v_BHTD):
        accept_both(self.k, k_BHTD, v_BHTD)
        self.k.add(k_BHTD)
        self.v.add(v_BHTD)
        self.length += k_BHTD.shape[2]
        if self.length > self.capacity:
            self.capacity = max(self.length, self.capacity * 2)

    def keys(self):
        return self.k.whole()

    def values(self):
        return self.v.whole()

    def truncate(self, length):
        check(0 <= length <= self.length, "no such length")
        self.k.keep(slice(0, length))
        self.v.keep(slice(0, length))
        self.length = length


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    q, k, v = q_BHqTD, k_BHSD, v_BHSD
    check(q.ndim == 4 and k.ndim == 4 and k.shape == v.shape, "shapes")
    check(q.dtype == k.dtype == v.dtype, "dtypes")
    check(q.dtype in (torch.float16, torch.bfloat16, torch.float32), "dtype")
    check(q.shape[0] == k.shape[0] and q.shape[3] == k.shape[3], "shapes")
    check(q.shape[2] > 0 and k.shape[1] > 0 and q.shape[1] > 0, "nothing to attend")
    check(q.shape[1] % k.shape[1] == 0, "heads")
    check(lengths_B.dtype == torch.int64 and lengths_B.shape == (q.shape[0],), "lengths")
    lengths = lengths_B.tolist()
    check(all(0 <= n <= k.shape[2] for n in lengths), "lengths")
    factor = q.shape[3] ** -0.5 if scale is None else scale
    out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    queries = q.shape[2]
    group = q.shape[1] // k.shape[1]
    for b, n in enumerate(lengths):
        for t in range(queries):
            seen = n - queries + t + 1
            if seen < 1:
                continue
            for h in range(k.shape[1]):
                mine = slice(h * group, (h + 1) * group)
                scores = q[b, mine, t].float() @ k[b, h, :seen].float().T * factor
                out[b, mine, t] = (scores.softmax(-1) @ v[b, h, :seen].float()).to(q.dtype)
    return out


def turn(x, first, base):
    count, dim = x.shape[2:]
    pairs = torch.view_as_complex(torch.stack((x[..., : dim // 2], x[..., dim // 2 :]), -1))
    speed = base ** (torch.arange(0, dim, 2, device=x.device).double() / -dim)
    angle = torch.outer(torch.arange(first, first + count, device=x.device).double(), speed)
    turned = pairs * torch.polar(torch.ones_like(angle), angle).to(pairs.dtype)
    return torch.cat((turned.real, turned.imag), -1)


def run(model, tokens, caches, first):
    x = model.embed(tokens)
    for layer, cache in enumerate(caches):
        q, k, v = model.qkv(layer, x)
        cache.append(turn(k, first, model.rope_base), v.contiguous())
        lengths = torch.full((len(x),), cache.length, device=x.device)
        seen = decode_attention(
            turn(q, first, model.rope_base), cache.keys(), cache.values(), lengths
        )
        x = model.finish(layer, x, seen)
    return model.logits(x)[:, -1].float()


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    check(prompt_BT.ndim == 2 and prompt_BT.dtype == torch.int64, "prompt")
    check(prompt_BT.numel() > 0, "prompt")
    check(prompt_BT.min() >= 0 and prompt_BT.max() < model.vocab_size, "ids")
    check(max_new_tokens >= 0 and temperature >= 0, "negative")
    rows, length = prompt_BT.shape
    if temperature > 0:
        check(uniforms_BN is not None, "uniforms")
        check(uniforms_BN.shape == (rows, max_new_tokens), "uniforms")
    caches = [
        KVCache(rows, model.n_kv_heads, model.head_dim, device=prompt_BT.device)
        for _ in range(model.n_layers)
    ]
    tokens = torch.zeros(rows, max_new_tokens, dtype=torch.int64)
    logprobs = torch.zeros(rows, max_new_tokens)
    done = [False] * rows
    if max_new_tokens:
        for first in range(0, length, model.max_tokens):
            z = run(model, prompt_BT[:, first : first + model.max_tokens], caches, first)
    for n in range(max_new_tokens):
        for row in range(rows):
            if done[row]:
                tokens[row, n] = eos_id
                continue
            logp = torch.log_softmax(z[row] / (temperature or 1.0), 0)
            if temperature:
                reached = torch.cumsum(logp.exp().double(), 0)
                goal = uniforms_BN[row, n].double()
                best = min(int(torch.searchsorted(reached, goal, right=True)), len(logp) - 1)
            else:
                best = int(logp.argmax())
            tokens[row, n], logprobs[row, n] = best, logp[best]
            done[row] = best == eos_id
        if n + 1 < max_new_tokens:
            z = run(model, tokens[:, n : n + 1].to(prompt_BT.device), caches, length + n)
    return tokens.to(prompt_BT.device), logprobs.to(prompt_BT.device)


class SlidingWindowCache:
    """A dictionary from slot to (position, key, value)."""

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
        check_positive(window)
        check(n_sinks >= 0, "negative")
        self.form = Chunks(batch_size, n_kv_heads, head_dim, dtype, device)
        self.window, self.n_sinks = window, n_sinks
        self.slots = {}
        self.length = 0

    def append(self, k_BHTD, v_BHTD):
        accept_both(self.form, k_BHTD, v_BHTD)
        for t in range(k_BHTD.shape[2]):
            p = self.length
            s = p if p < self.n_sinks else self.n_sinks + (p - self.n_sinks) % self.window
            self.slots[s] = (p, k_BHTD[:, :, t].clone(), v_BHTD[:, :, t].clone())
            self.length += 1

    def _stack(self, which):
        if not self.slots:
            return self.form.whole()
        return torch.stack([self.slots[s][which] for s in sorted(self.slots)], dim=2)

    def keys(self):
        return self._stack(1)

    def values(self):
        return self._stack(2)

    def positions(self):
        return torch.tensor([self.slots[s][0] for s in sorted(self.slots)], dtype=torch.int64)

    def mask(self, n_queries):
        check(0 < n_queries <= self.length, "queries")
        held = self.positions()
        own = range(self.length - n_queries, self.length)
        return torch.stack([held <= p for p in own])

    def truncate(self, length):
        check(0 <= length <= self.length, "no such length")
        needed = [p for p in range(length) if p < self.n_sinks or p >= length - self.window]
        held = {entry[0] for entry in self.slots.values()}
        check(held.issuperset(needed), "overwritten")
        self.slots = {s: entry for s, entry in self.slots.items() if entry[0] < length}
        self.length = length


class SlotCache:
    """One list entry per slot: None, or its keys and values."""

    def __init__(
        self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"
    ):
        check_positive(n_slots, max_length)
        self.empty = Chunks(1, n_kv_heads, head_dim, dtype, device)
        self.max_length = max_length
        self.held = [None] * n_slots

    @property
    def active(self):
        return [s for s, pair in enumerate(self.held) if pair is not None]

    def _known(self, slots):
        check(set(slots) <= set(self.active), f"not in use: {slots}")

    def acquire(self):
        if None not in self.held:
            raise RuntimeError("no slot is free")
        slot = self.held.index(None)
        self.held[slot] = (self.empty.whole(), self.empty.whole())
        return slot

    def release(self, slot):
        self._known([slot])
        self.held[slot] = None

    def append(self, slots, k_RHTD, v_RHTD):
        self._known(slots)
        check(len(slots) == len(set(slots)), "twice")
        rows = Chunks(max(len(slots), 1), *self.empty.form[1:], self.empty.dtype)
        accept_both(rows, k_RHTD, v_RHTD)
        held = list(self.held)
        for row, slot in enumerate(slots):
            k, v = held[slot]
            new_k = torch.cat((k, k_RHTD[row : row + 1]), 2)
            check(new_k.shape[2] <= self.max_length, "full")
            held[slot] = (new_k, torch.cat((v, v_RHTD[row : row + 1]), 2))
        self.held = held

    def gather(self, slots):
        check(len(slots) > 0, "no slots")
        self._known(slots)
        lengths = [self.held[s][0].shape[2] for s in slots]
        sides = []
        for side in (0, 1):
            rows = [self.held[s][side] for s in slots]
            pads = [(0, 0, 0, max(lengths) - n) for n in lengths]
            rows = [torch.nn.functional.pad(x, p) for x, p in zip(rows, pads, strict=True)]
            sides.append(torch.cat(rows))
        return sides[0], sides[1], torch.tensor(lengths)


class QuantizedKVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        self.form = Chunks(batch_size, n_kv_heads, head_dim, dtype, device)
        self.numbers = [Chunks(batch_size, n_kv_heads, head_dim, torch.int8, device) for _ in "kv"]
        self.scales = [Chunks(batch_size, n_kv_heads, 1, torch.float32, device) for _ in "kv"]
        self.length = 0

    def append(self, k_BHTD, v_BHTD):
        accept_both(self.form, k_BHTD, v_BHTD)
        for side, x in enumerate((k_BHTD.float(), v_BHTD.float())):
            top = x.abs().max(-1, keepdim=True).values
            scale = torch.where(top == 0, torch.ones_like(top), top / 127)
            self.numbers[side].add((x / scale).round().to(torch.int8))
            self.scales[side].add(scale)
        self.length += k_BHTD.shape[2]

    def packed_keys(self):
        return self.numbers[0].whole(), self.scales[0].whole()[..., 0]

    def packed_values(self):
        return self.numbers[1].whole(), self.scales[1].whole()[..., 0]

    def _plain(self, side, heads=slice(None)):
        numbers, scales = self.numbers[side].whole(), self.scales[side].whole()
        return numbers[:, heads].float() * scales[:, heads]

    def keys(self):
        return self._plain(0).to(self.form.dtype)

    def values(self):
        return self._plain(1).to(self.form.dtype)

    def attend(self, q_BHqTD):
        rows, heads, dim = self.form.form
        q = q_BHqTD
        check(q.ndim == 4 and q.dtype == self.form.dtype, "q")
        check(q.shape[0] == rows and q.shape[3] == dim and q.shape[1] > 0, "q")
        check(q.shape[1] % heads == 0 and 0 < q.shape[2] <= self.length, "q")
        lengths = torch.full((rows,), self.length, device=q.device)
        group = q.shape[1] // heads
        out = torch.empty(q.shape, device=q.device)
        for head in range(heads):
            mine, one = slice(head * group, (head + 1) * group), slice(head, head + 1)
            keys, values = self._plain(0, one), self._plain(1, one)
            out[:, mine] = decode_attention(q[:, mine].float(), keys, values, lengths)
        return out.to(q.dtype)


def kv_bytes(config, *, batch_size, length):
    c = config
    check_positive(c.n_layers, c.n_query_heads, c.n_kv_heads, c.head_dim)
    check(min(batch_size, length, c.window, c.n_sinks, c.n_window_layers) >= 0, "negative")
    check(c.n_query_heads % c.n_kv_heads == 0, "heads")
    check(c.n_window_layers <= c.n_layers, "layers")
    check(c.window > 0 or c.n_window_layers == 0, "window")
    total = 0
    for layer in range(c.n_layers):
        kept = min(length, c.window + c.n_sinks) if layer < c.n_window_layers else length
        numbers = batch_size * c.n_kv_heads * kept * c.head_dim
        total += 2 * numbers * c.dtype.itemsize
        if c.dtype == torch.int8:
            total += 2 * batch_size * c.n_kv_heads * kept * 4
    return total


def largest_batch(config, *, length, budget_bytes):
    check(budget_bytes >= 0, "negative budget")
    check(length != 0, "no tokens")
    one = kv_bytes(config, batch_size=1, length=length)
    return math.floor(budget_bytes // one)
