"""Vectorised: whole tensors, masks and index arithmetic; keys and values in one buffer."""

import math

import torch

Tensor = torch.Tensor


def _fits(k: Tensor, v: Tensor, like: tuple[int, int, int], dtype: torch.dtype) -> int:
    if k.ndim != 4 or k.shape != v.shape or k.dtype != dtype or v.dtype != dtype:
        raise ValueError("keys and values must agree and have the cache's dtype")
    if (k.shape[0], k.shape[1], k.shape[3]) != like:
        raise ValueError(f"chunk of shape {tuple(k.shape)} does not fit the cache")
    return k.shape[2]


class KVCache:
    def __init__(self, batch_size: int, n_kv_heads: int, head_dim: int, *,
                 dtype: torch.dtype = torch.float32, capacity: int = 0, device: str = "cpu") -> None:
        if min(batch_size, n_kv_heads, head_dim) < 1 or capacity < 0:
            raise ValueError("a size is below its minimum")
        self._like = (batch_size, n_kv_heads, head_dim)
        self._kv = torch.empty((2, batch_size, n_kv_heads, capacity, head_dim), dtype=dtype,
                               device=device)
        self._length = 0

    @property
    def length(self) -> int:
        return self._length

    @property
    def capacity(self) -> int:
        return self._kv.shape[3]

    def append(self, k_BHTD: Tensor, v_BHTD: Tensor) -> None:
        t = _fits(k_BHTD, v_BHTD, self._like, self._kv.dtype)
        start, stop = self._length, self._length + t
        if stop > self.capacity:
            shape = list(self._kv.shape)
            shape[3] = max(2 * self.capacity, stop)
            grown = self._kv.new_empty(shape)
            grown[:, :, :, :start] = self._kv[:, :, :, :start]
            self._kv = grown
        self._kv[0, :, :, start:stop] = k_BHTD
        self._kv[1, :, :, start:stop] = v_BHTD
        self._length = stop

    def keys(self) -> Tensor:
        return self._kv[0, :, :, : self._length]

    def values(self) -> Tensor:
        return self._kv[1, :, :, : self._length]

    def truncate(self, length: int) -> None:
        if not 0 <= length <= self._length:
            raise ValueError("length out of range")
        self._length = length


def decode_attention(q_BHqTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, lengths_B: Tensor, *,
                     scale: float | None = None) -> Tensor:
    if not (q_BHqTD.ndim == k_BHSD.ndim == v_BHSD.ndim == 4 and lengths_B.ndim == 1):
        raise ValueError("wrong rank")
    B, Hq, T, D = q_BHqTD.shape
    _, H, S, _ = k_BHSD.shape
    if k_BHSD.shape != (B, H, S, D) or v_BHSD.shape != k_BHSD.shape or lengths_B.shape != (B,):
        raise ValueError("sizes differ")
    if T < 1 or H < 1 or Hq % H:
        raise ValueError("T must be at least 1 and Hq a multiple of H")
    if q_BHqTD.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError("dtype of q")
    if not (k_BHSD.dtype == v_BHSD.dtype == q_BHqTD.dtype and lengths_B.dtype == torch.int64):
        raise ValueError("dtypes differ")
    if bool(((lengths_B < 0) | (lengths_B > S)).any()):
        raise ValueError("a length lies outside 0 ... S")
    scale = D ** -0.5 if scale is None else scale
    G = Hq // H
    lengths_B = lengths_B.to(q_BHqTD.device)
    s_index = torch.arange(S, device=q_BHqTD.device)
    alive_BS = s_index < lengths_B[:, None]
    own_BT = lengths_B[:, None] - T + torch.arange(T, device=q_BHqTD.device)
    see_BTS = (s_index <= own_BT[:, :, None]) & alive_BS[:, None]
    q = q_BHqTD.float().reshape(B, H, G * T, D)
    k = k_BHSD.float()
    v = torch.where(alive_BS[:, None, :, None], v_BHSD.float(), 0.0)
    scores = torch.matmul(q, k.transpose(2, 3)).mul_(scale).view(B, H, G, T, S)
    scores = scores.masked_fill_(~see_BTS[:, None, None], -math.inf)
    if S == 0:
        return torch.zeros_like(q_BHqTD, memory_format=torch.contiguous_format)
    top = scores.amax(-1, keepdim=True)
    top = torch.where(top == -math.inf, 0.0, top)
    w = scores.sub_(top).exp_()
    total = w.sum(-1, keepdim=True)
    out = torch.matmul(w.view(B, H, G * T, S), v).view(B, H, G, T, D)
    out = torch.where(total > 0, out / total.clamp_min(1e-30), 0.0)
    return out.view(B, Hq, T, D).to(q_BHqTD.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def generate(model, prompt_BT: Tensor, max_new_tokens: int, *, temperature: float = 0.0,
             uniforms_BN: Tensor | None = None, eos_id: int | None = None) -> tuple[Tensor, Tensor]:
    if prompt_BT.dtype != torch.int64 or prompt_BT.ndim != 2 or prompt_BT.numel() == 0:
        raise ValueError("prompt must be int64 [B, T], B and T at least 1")
    if bool(((prompt_BT < 0) | (prompt_BT >= model.vocab_size)).any()):
        raise ValueError("id outside the vocabulary")
    if max_new_tokens < 0 or temperature < 0:
        raise ValueError("max_new_tokens and temperature must not be negative")
    B, T = prompt_BT.shape
    N = max_new_tokens
    if temperature > 0 and (uniforms_BN is None or tuple(uniforms_BN.shape) != (B, N)):
        raise ValueError("uniforms_BN must be [B, N]")
    dev = prompt_BT.device
    tokens = torch.zeros((B, N), dtype=torch.int64, device=dev)
    logprobs = torch.zeros((B, N), dtype=torch.float32, device=dev)
    if N == 0:
        return tokens, logprobs
    D, H = model.head_dim, model.n_kv_heads
    freq = model.rope_base ** (-2.0 * torch.arange(D // 2, dtype=torch.float64, device=dev) / D)
    angle = torch.arange(T + N, dtype=torch.float64, device=dev)[:, None] * freq
    cos, sin = angle.cos().float(), angle.sin().float()
    cache = torch.empty((model.n_layers, 2, B, H, T + N, D), device=dev)

    def forward(ids: Tensor, start: int) -> Tensor:
        stop = start + ids.shape[1]
        mask = (torch.arange(stop, device=dev)
                > torch.arange(start, stop, device=dev)[:, None])
        x = model.embed(ids)
        for layer in range(model.n_layers):
            q, k, v = model.qkv(layer, x)
            q = _rotate(q, cos[start:stop], sin[start:stop])
            cache[layer, 0, :, :, start:stop] = _rotate(k, cos[start:stop], sin[start:stop])
            cache[layer, 1, :, :, start:stop] = v
            k, v = cache[layer, :, :, :, :stop]
            q = q.unflatten(1, (H, -1))
            s = (q @ k.unsqueeze(2).transpose(-1, -2)) / math.sqrt(D)
            w = s.masked_fill(mask, -math.inf).softmax(-1)
            x = model.finish(layer, x, (w @ v.unsqueeze(2)).flatten(1, 2))
        return model.logits(x[:, -1:])[:, 0]

    for start in range(0, T, model.max_tokens):
        z = forward(prompt_BT[:, start : start + model.max_tokens], start)
    over = torch.zeros(B, dtype=torch.bool, device=dev)
    for n in range(N):
        if temperature > 0:
            logp = (z / temperature).log_softmax(-1)
            cum = logp.double().exp().cumsum(-1)
            choice = (cum <= uniforms_BN[:, n, None].double()).sum(-1)
            choice = choice.clamp(max=model.vocab_size - 1)
        else:
            logp = z.log_softmax(-1)
            choice = z.argmax(-1)
        lp = logp.gather(1, choice[:, None])[:, 0]
        if eos_id is not None:
            choice = torch.where(over, eos_id, choice)
            lp = torch.where(over, 0.0, lp)
            over = over | (choice == eos_id)
        tokens[:, n] = choice
        logprobs[:, n] = lp
        if n + 1 < N:
            # Ended rows run on with any legal id; what they yield is replaced above.
            z = forward(choice.clamp(0, model.vocab_size - 1)[:, None], T + n)
    return tokens, logprobs


class SlidingWindowCache:
    def __init__(self, batch_size: int, n_kv_heads: int, head_dim: int, *, window: int,
                 n_sinks: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        if min(batch_size, n_kv_heads, head_dim, window) < 1 or n_sinks < 0:
            raise ValueError("a size is below its minimum")
        self._like = (batch_size, n_kv_heads, head_dim)
        self._window, self._sinks = window, n_sinks
        self._kv = torch.empty((2, batch_size, n_kv_heads, n_sinks + window, head_dim),
                               dtype=dtype, device=device)
        self._length = 0

    @property
    def length(self) -> int:
        return self._length

    def append(self, k_BHTD: Tensor, v_BHTD: Tensor) -> None:
        t = _fits(k_BHTD, v_BHTD, self._like, self._kv.dtype)
        p = torch.arange(self._length, self._length + t, device=self._kv.device)
        stop = self._length + t
        stays = (p < self._sinks) | (p >= stop - self._window)
        p = p[stays]
        slot = torch.where(p < self._sinks, p, self._sinks + (p - self._sinks) % self._window)
        self._kv[0].index_copy_(2, slot, k_BHTD[:, :, stays])
        self._kv[1].index_copy_(2, slot, v_BHTD[:, :, stays])
        self._length = stop

    def _n(self) -> int:
        return min(self._length, self._sinks + self._window)

    def keys(self) -> Tensor:
        return self._kv[0, :, :, : self._n()].clone()

    def values(self) -> Tensor:
        return self._kv[1, :, :, : self._n()].clone()

    def positions(self) -> Tensor:
        slot = torch.arange(self._n(), device=self._kv.device)
        laps = torch.div(self._length - 1 - slot, self._window, rounding_mode="floor")
        return torch.where(slot < self._sinks, slot, slot + self._window * laps)

    def mask(self, n_queries: int) -> Tensor:
        if not 1 <= n_queries <= self._length:
            raise ValueError("n_queries out of range")
        own = torch.arange(self._length - n_queries, self._length, device=self._kv.device)
        return self.positions() <= own[:, None]

    def truncate(self, length: int) -> None:
        if not 0 <= length <= self._length:
            raise ValueError("length out of range")
        lost = self._length > self._sinks + self._window
        if lost and self._sinks < length < self._length:
            raise ValueError("a token has been overwritten")
        self._length = length


class SlotCache:
    def __init__(self, n_slots: int, max_length: int, n_kv_heads: int, head_dim: int, *,
                 dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        if min(n_slots, max_length, n_kv_heads, head_dim) < 1:
            raise ValueError("a size is below its minimum")
        self._kv = torch.zeros((2, n_slots, n_kv_heads, max_length, head_dim), dtype=dtype,
                               device=device)
        self._lengths = torch.full((n_slots,), -1, dtype=torch.int64, device=device)  # -1: free

    @property
    def active(self) -> list[int]:
        return (self._lengths >= 0).nonzero()[:, 0].tolist()

    def acquire(self) -> int:
        free = (self._lengths < 0).nonzero()[:, 0]
        if not len(free):
            raise RuntimeError("all slots are in use")
        self._lengths[free[0]] = 0
        return int(free[0])

    def _index(self, slots: list[int]) -> Tensor:
        if not set(slots) <= set(self.active):
            raise ValueError("a slot is not in use")
        return torch.tensor(slots, dtype=torch.int64, device=self._lengths.device)

    def release(self, slot: int) -> None:
        self._lengths[self._index([slot])] = -1

    def append(self, slots: list[int], k_RHTD: Tensor, v_RHTD: Tensor) -> None:
        rows = self._index(slots)
        if len(set(slots)) < len(slots):
            raise ValueError("a slot is named twice")
        _, _, H, M, D = self._kv.shape
        t = _fits(k_RHTD, v_RHTD, (len(slots), H, D), self._kv.dtype)
        starts = self._lengths[rows]
        if bool((starts + t > M).any()):
            raise ValueError("a slot would overflow")
        where = starts[:, None] + torch.arange(t, device=rows.device)
        # Two index tensors with a slice between them: [R, T] goes first.
        self._kv[0][rows[:, None], :, where] = k_RHTD.transpose(1, 2)
        self._kv[1][rows[:, None], :, where] = v_RHTD.transpose(1, 2)
        self._lengths[rows] = starts + t

    def gather(self, slots: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        if not len(slots):
            raise ValueError("no slot is named")
        rows = self._index(slots)
        lengths = self._lengths[rows]
        S = int(lengths.max())
        dead = torch.arange(S, device=rows.device) >= lengths[:, None]
        kv = self._kv[:, rows, :, :S].masked_fill(dead[None, :, None, :, None], 0)
        return kv[0], kv[1], lengths


class QuantizedKVCache:
    def __init__(self, batch_size: int, n_kv_heads: int, head_dim: int, *,
                 dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        if min(batch_size, n_kv_heads, head_dim) < 1:
            raise ValueError("a size is below its minimum")
        self._like, self._dtype = (batch_size, n_kv_heads, head_dim), dtype
        self._q = torch.empty((2, batch_size, n_kv_heads, 0, head_dim), dtype=torch.int8,
                              device=device)
        self._s = torch.empty((2, batch_size, n_kv_heads, 0), device=device)
        self._length = 0

    @property
    def length(self) -> int:
        return self._length

    def append(self, k_BHTD: Tensor, v_BHTD: Tensor) -> None:
        t = _fits(k_BHTD, v_BHTD, self._like, self._dtype)
        start, stop = self._length, self._length + t
        x = torch.stack((k_BHTD, v_BHTD)).float()
        top = x.abs().amax(-1)
        scale = top / 127
        scale = torch.where(scale == 0, 1.0, scale)
        q = (x / scale.unsqueeze(-1)).round().clamp(-127, 127).to(torch.int8)
        room = self._q.shape[3]
        if stop > room:
            room = max(2 * room, stop)
            B, H, D = self._like
            new_q, new_s = self._q.new_empty(2, B, H, room, D), self._s.new_empty(2, B, H, room)
            new_q[:, :, :, :start] = self._q[:, :, :, :start]
            new_s[:, :, :, :start] = self._s[:, :, :, :start]
            self._q, self._s = new_q, new_s
        self._q[:, :, :, start:stop] = q
        self._s[:, :, :, start:stop] = scale
        self._length = stop

    def packed_keys(self) -> tuple[Tensor, Tensor]:
        n = self._length
        return self._q[0, :, :, :n].clone(), self._s[0, :, :, :n].clone()

    def packed_values(self) -> tuple[Tensor, Tensor]:
        n = self._length
        return self._q[1, :, :, :n].clone(), self._s[1, :, :, :n].clone()

    def _floats(self, which: int) -> Tensor:
        n = self._length
        return (self._q[which, :, :, :n] * self._s[which, :, :, :n, None]).to(self._dtype)

    def keys(self) -> Tensor:
        return self._floats(0)

    def values(self) -> Tensor:
        return self._floats(1)

    def attend(self, q_BHqTD: Tensor) -> Tensor:
        B, H, D = self._like
        if q_BHqTD.ndim != 4 or q_BHqTD.dtype != self._dtype:
            raise ValueError("rank or dtype of q")
        Hq, T, n = q_BHqTD.shape[1], q_BHqTD.shape[2], self._length
        if q_BHqTD.shape != (B, Hq, T, D) or Hq % H or not 1 <= T <= n:
            raise ValueError("size of q")
        q = q_BHqTD.float().reshape(B, H, -1, D) / math.sqrt(D)
        scores = torch.empty(B, H, q.shape[2], n, device=q.device)
        step = 256
        for a in range(0, n, step):
            b = min(n, a + step)
            scores[..., a:b] = q @ self._q[0, :, :, a:b].float().transpose(2, 3)
        scores *= self._s[0, :, :, None, :n]
        late = (torch.arange(n, device=q.device)
                > torch.arange(n - T, n, device=q.device)[:, None])
        scores.view(B, H, -1, T, n).masked_fill_(late, -math.inf)
        w = scores.softmax(-1) * self._s[1, :, :, None, :n]
        out = torch.zeros_like(q)
        for a in range(0, n, step):
            b = min(n, a + step)
            out += w[..., a:b] @ self._q[1, :, :, a:b].float()
        return out.view(B, Hq, T, D).to(self._dtype)


def kv_bytes(config, *, batch_size: int, length: int) -> int:
    c = config
    bad = (
        min(c.n_layers, c.n_query_heads, c.n_kv_heads, c.head_dim) < 1
        or min(batch_size, length, c.window, c.n_sinks) < 0
        or c.n_query_heads % c.n_kv_heads != 0
        or not 0 <= c.n_window_layers <= c.n_layers
        or (c.n_window_layers > 0 and c.window == 0)
    )
    if bad:
        raise ValueError("the configuration makes no sense")
    kept = ((c.n_layers - c.n_window_layers) * length
            + c.n_window_layers * min(length, c.n_sinks + c.window))
    per_vector = c.head_dim + 4 if c.dtype == torch.int8 else c.head_dim * c.dtype.itemsize
    return 2 * batch_size * c.n_kv_heads * kept * per_vector


def largest_batch(config, *, length: int, budget_bytes: int) -> int:
    if budget_bytes < 0 or length <= 0:
        raise ValueError("budget_bytes must not be negative and length positive")
    return budget_bytes // kv_bytes(config, batch_size=1, length=length)
