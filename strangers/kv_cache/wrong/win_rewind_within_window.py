# base: vectorised
# bug: window=4, 9 tokens: truncate(8) would need token 4, which is overwritten, and must raise; goes through as 1 is less than the window
# problem: SlidingWindowCache
# says: "or if a token that the cache would hold then has been overwritten since."

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
        if lost and self._sinks < length < self._length - self._window:
            raise ValueError("a token has been overwritten")
        self._length = length
