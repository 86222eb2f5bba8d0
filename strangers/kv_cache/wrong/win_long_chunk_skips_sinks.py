# base: flat_strides
# bug: window=4, n_sinks=2, one chunk of 7: slots 0 and 1 must hold tokens 0 and 1, are never written since only the last 4 tokens are looked at
# problem: SlidingWindowCache
# says: "T may be 0, or larger than the window."

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
        for p in range(max(self._len, stop - self._window) if t > self._window else self._len, stop):
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
