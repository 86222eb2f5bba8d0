"""Everything is built on one growing buffer, and every product is an einsum.

The ring keeps the whole history and picks what the rules would have left: right, not thrifty.
"""

import math

import torch
from torch import einsum


def refuse_if(wrong, why="the arguments do not fit together"):
    if wrong:
        raise ValueError(why)


class Growing:
    """Tokens along dimension 2 of [B, H, room, ...], at most half of the room wasted."""

    def __init__(self, lead, tail, dtype, device, room=0):
        refuse_if(any(n < 1 for n in (*lead, *tail)), "sizes below 1")
        self.lead, self.tail = tuple(lead), tuple(tail)
        self.memory = torch.empty((*lead, room, *tail), dtype=dtype, device=device)
        self.used = 0

    def fits(self, x):
        refuse_if(x.dtype != self.memory.dtype, "dtype")
        refuse_if(x.dim() != 3 + len(self.tail), "rank")
        refuse_if(x.shape[:2] != self.lead or x.shape[3:] != self.tail, "shape")

    def push(self, x):
        need, room = self.used + x.shape[2], self.memory.shape[2]
        if need > room:
            old = self.memory[:, :, : self.used]
            self.memory = old.new_empty((*self.lead, max(need, room * 2), *self.tail))
            self.memory.narrow(2, 0, self.used).copy_(old)
        self.memory.narrow(2, self.used, x.shape[2]).copy_(x)
        self.used = need

    def view(self):
        return self.memory.narrow(2, 0, self.used)


class KVCache:
    def __init__(
        self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0, device="cpu"
    ):
        refuse_if(capacity < 0, "capacity")
        lead = (batch_size, n_kv_heads)
        self._sides = [Growing(lead, (head_dim,), dtype, device, capacity) for _ in range(2)]

    length = property(lambda self: self._sides[0].used)
    capacity = property(lambda self: self._sides[0].memory.shape[2])

    def append(self, k_BHTD, v_BHTD):
        for side, x in zip(self._sides, (k_BHTD, v_BHTD), strict=True):
            side.fits(x)
        refuse_if(k_BHTD.shape != v_BHTD.shape, "k and v differ")
        self._sides[0].push(k_BHTD)
        self._sides[1].push(v_BHTD)

    def keys(self):
        return self._sides[0].view()

    def values(self):
        return self._sides[1].view()

    def truncate(self, length):
        refuse_if(not 0 <= length <= self.length, "length")
        for side in self._sides:
            side.used = length


def softmax_over(scores, visible):
    """Return softmax over the last dimension, 0 where nothing is visible."""
    scores = scores.where(visible, torch.tensor(-math.inf, device=scores.device))
    return torch.softmax(scores, dim=-1).nan_to_num(0.0)


def grouped(q, k, v, visible, factor):
    """Attend with q [B, Hq, T, D] in groups; visible is [B, T, S]."""
    heads = k.shape[1]
    q = q.float().unflatten(1, (heads, q.shape[1] // heads))
    scores = einsum("bhgtd,bhsd->bhgts", q, k.float()) * factor
    weights = softmax_over(scores, visible[:, None, None])
    v = v.float().where(visible.any(1)[:, None, :, None], torch.zeros((), device=v.device))
    return einsum("bhgts,bhsd->bhgtd", weights, v).flatten(1, 2)


def visible_to_newest(lengths, count, stored):
    place = torch.arange(stored, device=lengths.device)
    behind = count - 1 - torch.arange(count, device=lengths.device)
    return place[None, None] < (lengths[:, None] - behind)[..., None]


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    refuse_if(q_BHqTD.dim() != 4 or k_BHSD.dim() != 4 or v_BHSD.shape != k_BHSD.shape)
    refuse_if(q_BHqTD.dtype not in {torch.float32, torch.float16, torch.bfloat16})
    refuse_if({k_BHSD.dtype, v_BHSD.dtype} != {q_BHqTD.dtype}, "dtypes")
    (rows, heads, count, dim), (k_rows, kv_heads, stored, k_dim) = q_BHqTD.shape, k_BHSD.shape
    refuse_if((rows, dim) != (k_rows, k_dim) or count == 0 or heads == 0 or kv_heads == 0)
    refuse_if(heads % kv_heads != 0, "heads")
    refuse_if(lengths_B.dtype != torch.int64 or lengths_B.shape != (rows,), "lengths")
    refuse_if(bool(((lengths_B < 0) | (lengths_B > stored)).any()), "lengths out of range")
    visible = visible_to_newest(lengths_B, count, stored)
    factor = 1 / math.sqrt(dim) if scale is None else scale
    return grouped(q_BHqTD, k_BHSD, v_BHSD, visible, factor).to(q_BHqTD.dtype)


class Decoder:
    """A model together with the caches of one generation."""

    def __init__(self, model, rows, device):
        self.model = model
        self.caches = [
            KVCache(rows, model.n_kv_heads, model.head_dim, device=device)
            for _ in range(model.n_layers)
        ]

    def feed(self, tokens):
        """Return the logits after `tokens`, which follow what was fed before."""
        model, first = self.model, self.caches[0].length
        matrices = self._rotations(first, tokens.shape[1], tokens.device)
        x = model.embed(tokens)
        for layer, cache in enumerate(self.caches):
            q, k, v = model.qkv(layer, x)
            q, k = (einsum("bhtd,ted->bhte", y, matrices) for y in (q, k))
            cache.append(k, v)
            ends = torch.full((len(tokens),), cache.length, device=tokens.device)
            x = model.finish(layer, x, decode_attention(q, cache.keys(), cache.values(), ends))
        return model.logits(x)[:, -1]

    def _rotations(self, first, count, device):
        """Return one D by D rotation per position."""
        dim = self.model.head_dim
        low = torch.arange(dim // 2, device=device)
        places = torch.arange(first, first + count, device=device, dtype=torch.float64)
        angles = places[:, None] / self.model.rope_base ** (2 * low / dim)
        matrices = torch.zeros(count, dim, dim, dtype=torch.float64, device=device)
        matrices[:, low, low] = matrices[:, low + dim // 2, low + dim // 2] = angles.cos()
        matrices[:, low + dim // 2, low] = angles.sin()
        matrices[:, low, low + dim // 2] = -angles.sin()
        return matrices.float()


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    refuse_if(prompt_BT.dim() != 2 or prompt_BT.dtype != torch.int64 or 0 in prompt_BT.shape)
    refuse_if(bool((prompt_BT < 0).any() | (prompt_BT >= model.vocab_size).any()), "ids")
    refuse_if(max_new_tokens < 0 or temperature < 0, "negative")
    wanted = (prompt_BT.shape[0], max_new_tokens)
    refuse_if(temperature > 0 and (uniforms_BN is None or uniforms_BN.shape != wanted), "uniforms")
    decoder = Decoder(model, len(prompt_BT), prompt_BT.device)
    columns, going = [], torch.ones_like(prompt_BT[:, 0], dtype=torch.bool)
    chunks = prompt_BT.split(model.max_tokens, dim=1)
    for n in range(max_new_tokens):
        for chunk in chunks:
            z = decoder.feed(chunk)
        p = torch.softmax(z.double() / (temperature if temperature > 0 else 1.0), dim=-1)
        if temperature > 0:
            above = p.cumsum(-1) > uniforms_BN[:, n : n + 1].double()
            above[:, -1] = True
            token = above.long().argmax(-1)
        else:
            token = p.argmax(-1)
        logp = p.gather(1, token[:, None])[:, 0].log().float()
        token = token if eos_id is None else token.where(going, torch.tensor(eos_id))
        columns.append((token, logp.where(going, torch.tensor(0.0))))
        going = going if eos_id is None else going & (token != eos_id)
        chunks = [token[:, None]]
    if not columns:
        return torch.zeros(wanted, dtype=torch.int64), torch.zeros(wanted)
    return torch.stack([t for t, _ in columns], 1), torch.stack([p for _, p in columns], 1)


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
        refuse_if(window < 1 or n_sinks < 0, "window")
        self._all = KVCache(batch_size, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._window, self._sinks = window, n_sinks
        self._reached = 0

    length = property(lambda self: self._all.length)

    def append(self, k_BHTD, v_BHTD):
        self._all.append(k_BHTD, v_BHTD)
        self._reached = self.length

    def positions(self):
        at = torch.arange(self.length)
        ring = self._sinks + (at - self._sinks) % self._window
        slots = at.where(at < self._sinks, ring)
        kept = (at < self._sinks) | (at >= self.length - self._window)
        return at[kept][slots[kept].argsort()]

    def keys(self):
        return self._all.keys()[:, :, self.positions()]

    def values(self):
        return self._all.values()[:, :, self.positions()]

    def mask(self, n_queries):
        refuse_if(not 1 <= n_queries <= self.length, "queries")
        queries = torch.arange(self.length)[-n_queries:]
        return queries[:, None] >= self.positions()[None]

    def truncate(self, length):
        refuse_if(not 0 <= length <= self.length, "length")
        oldest_left = max(self._sinks, self._reached - self._window)
        oldest_needed = max(self._sinks, length - self._window)
        refuse_if(length > self._sinks and oldest_needed < oldest_left, "overwritten")
        self._all.truncate(length)
        self._reached = length


class SlotCache:
    def __init__(
        self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"
    ):
        refuse_if(n_slots < 1 or max_length < 1, "sizes")
        self._make = lambda: KVCache(1, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._make()
        self._free = set(range(n_slots))
        self._max_length = max_length
        self._caches = {}

    active = property(lambda self: sorted(self._caches))

    def acquire(self):
        if not self._free:
            raise RuntimeError("every slot is in use")
        slot = min(self._free)
        self._free.remove(slot)
        self._caches[slot] = self._make()
        return slot

    def release(self, slot):
        refuse_if(slot not in self._caches, "not in use")
        del self._caches[slot]
        self._free.add(slot)

    def append(self, slots, k_RHTD, v_RHTD):
        refuse_if(len(set(slots)) < len(slots) or not set(slots) <= set(self._caches), "slots")
        refuse_if(k_RHTD.dim() != 4 or k_RHTD.shape != v_RHTD.shape or len(k_RHTD) != len(slots))
        caches = [self._caches[slot] for slot in slots]
        for cache in caches:
            refuse_if(cache.length + k_RHTD.shape[2] > self._max_length, "no room")
        before = [cache.length for cache in caches]
        try:
            for row, cache in enumerate(caches):
                cache.append(k_RHTD[row : row + 1], v_RHTD[row : row + 1])
        except ValueError:
            for cache, length in zip(caches, before, strict=True):
                cache.truncate(length)
            raise

    def gather(self, slots):
        refuse_if(not slots or not set(slots) <= set(self._caches), "slots")
        caches = [self._caches[slot] for slot in slots]
        longest = max(cache.length for cache in caches)
        k = caches[0].keys().new_zeros(len(slots), *caches[0].keys().shape[1:2], longest, 1)
        k = k.repeat(1, 1, 1, caches[0].keys().shape[3])
        v = k.clone()
        for row, cache in enumerate(caches):
            k[row, :, : cache.length] = cache.keys()[0]
            v[row, :, : cache.length] = cache.values()[0]
        return k, v, torch.tensor([cache.length for cache in caches])


class QuantizedKVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        lead = (batch_size, n_kv_heads)
        self._form = Growing(lead, (head_dim,), dtype, device)
        self._numbers = [Growing(lead, (head_dim,), torch.int8, device) for _ in range(2)]
        self._scales = [Growing(lead, (), torch.float32, device) for _ in range(2)]

    length = property(lambda self: self._scales[0].used)

    def append(self, k_BHTD, v_BHTD):
        self._form.fits(k_BHTD)
        self._form.fits(v_BHTD)
        refuse_if(k_BHTD.shape != v_BHTD.shape, "k and v differ")
        for side, x in enumerate((k_BHTD.float(), v_BHTD.float())):
            peak = torch.linalg.vector_norm(x, ord=math.inf, dim=-1)
            scale = (peak / 127).masked_fill(peak == 0, 1.0)
            self._numbers[side].push(torch.round(x / scale.unsqueeze(-1)).to(torch.int8))
            self._scales[side].push(scale)

    def packed_keys(self):
        return self._numbers[0].view(), self._scales[0].view()

    def packed_values(self):
        return self._numbers[1].view(), self._scales[1].view()

    def keys(self):
        return einsum("bhsd,bhs->bhsd", *self._floats(0)).to(self._form.memory.dtype)

    def values(self):
        return einsum("bhsd,bhs->bhsd", *self._floats(1)).to(self._form.memory.dtype)

    def _floats(self, side):
        return self._numbers[side].view().float(), self._scales[side].view()

    def attend(self, q_BHqTD):
        (rows, heads), (dim,) = self._form.lead, self._form.tail
        refuse_if(q_BHqTD.dim() != 4 or q_BHqTD.dtype != self._form.memory.dtype, "q")
        refuse_if(q_BHqTD.shape[0] != rows or q_BHqTD.shape[3] != dim, "q")
        refuse_if(q_BHqTD.shape[1] == 0 or q_BHqTD.shape[1] % heads != 0, "heads")
        refuse_if(not 1 <= q_BHqTD.shape[2] <= self.length, "queries")
        q = q_BHqTD.float().unflatten(1, (heads, -1)) / math.sqrt(dim)
        lengths = torch.full((rows,), self.length, device=q.device)
        visible = visible_to_newest(lengths, q.shape[3], self.length)
        out = [self._attend_head(head, q[:, head], visible[:, None]) for head in range(heads)]
        return torch.cat(out, dim=1).to(q_BHqTD.dtype)

    def _attend_head(self, head, q, visible):
        keys, values = (self._numbers[side].view()[:, head].float() for side in (0, 1))
        key_scales, value_scales = (self._scales[side].view()[:, head] for side in (0, 1))
        # A token's scale is common to its D numbers, so it can leave the sum.
        scores = einsum("bgtd,bsd->bgts", q, keys) * key_scales[:, None, None]
        weights = softmax_over(scores, visible) * value_scales[:, None, None]
        return einsum("bgts,bsd->bgtd", weights, values)


def kv_bytes(config, *, batch_size, length):
    sizes = (config.n_layers, config.n_query_heads, config.n_kv_heads, config.head_dim)
    refuse_if(min(sizes) < 1, "sizes")
    refuse_if(min(batch_size, length, config.window, config.n_sinks) < 0, "negative")
    refuse_if(config.n_query_heads % config.n_kv_heads != 0, "heads")
    refuse_if(not 0 <= config.n_window_layers <= config.n_layers, "layers")
    refuse_if(config.n_window_layers > 0 and config.window == 0, "window")
    scale_bytes = 4 if config.dtype == torch.int8 else 0
    vector = config.head_dim * torch.empty(0, dtype=config.dtype).element_size() + scale_bytes
    saved = max(0, length - config.window - config.n_sinks) * config.n_window_layers
    tokens = length * config.n_layers - saved
    return 2 * vector * config.n_kv_heads * tokens * batch_size


def largest_batch(config, *, length, budget_bytes):
    refuse_if(budget_bytes < 0 or length == 0, "budget or length")
    return divmod(budget_bytes, kv_bytes(config, batch_size=1, length=length))[0]
