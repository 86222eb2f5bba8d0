# base: vectorised
# bug: a vector whose largest number is positive: scale must be max|x|/127 for either sign, vectors with a negative extreme use 128 steps, so that q = -128 and scale = max|x|/128
# problem: QuantizedKVCache
# says: "an int8 in -127 … 127"

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
        low = x.amin(-1) == -top
        scale = top / torch.where(low, 128.0, 127.0)
        scale = torch.where(scale == 0, 1.0, scale)
        q = (x / scale.unsqueeze(-1)).round().clamp(-128, 127).to(torch.int8)
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
