# base: plain_loops
# bug: window=4, 9 tokens, truncate(8) raises, but token 8 is gone from positions() and keys()
# problem: SlidingWindowCache
# says: "a call that raises leaves the object as it was"

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
        for i, p in enumerate(self._where):
            if p >= length:
                self._where[i] = -1
        for p in range(length):
            if (p < self._s or p >= length - self._w) and self._where[self._slot(p)] != p:
                raise ValueError(f"token {p} has been overwritten")
        self._n = length
