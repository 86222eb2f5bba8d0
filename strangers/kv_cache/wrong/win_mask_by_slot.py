# base: subclassing
# bug: window=4, 7 tokens, mask(2): query at 5 must see slots of 3, 4, 5, gets a triangle over slots, which hides position 5 or shows 6
# problem: SlidingWindowCache
# says: "It sees the slots whose token stands at its own position or before"

class SlidingWindowCache(_Base):
    def __init__(self, batch_size, n_kv_heads, head_dim, *, window, n_sinks=0,
                 dtype=torch.float32, device="cpu"):
        super().__init__(batch_size, n_kv_heads, head_dim, dtype, device, window=window)
        if n_sinks < 0:
            raise ValueError("n_sinks")
        self.window, self.sinks = window, n_sinks
        shape = (batch_size, n_kv_heads, n_sinks + window, head_dim)
        self._k = torch.zeros(shape, dtype=dtype, device=device)
        self._v = torch.zeros(shape, dtype=dtype, device=device)

    def append(self, k_BHTD, v_BHTD):
        t = self._checked(k_BHTD, v_BHTD)
        to_sinks = min(t, max(self.sinks - self._count, 0))
        if to_sinks:
            here = slice(self._count, self._count + to_sinks)
            self._k[:, :, here] = k_BHTD[:, :, :to_sinks]
            self._v[:, :, here] = v_BHTD[:, :, :to_sinks]
        rest = min(t - to_sinks, self.window)
        if rest:
            first = (self._count + t - rest - self.sinks) % self.window
            fits = min(rest, self.window - first)
            for buf, x in ((self._k, k_BHTD), (self._v, v_BHTD)):
                ring, x = buf[:, :, self.sinks :], x[:, :, t - rest :]
                ring[:, :, first : first + fits] = x[:, :, :fits]
                ring[:, :, : rest - fits] = x[:, :, fits:]
        self._count += t

    @property
    def _n(self):
        return min(self._count, self.sinks + self.window)

    def keys(self):
        return self._k[:, :, : self._n].clone()

    def values(self):
        return self._v[:, :, : self._n].clone()

    def positions(self):
        out = torch.arange(self._n, device=self.device)
        ring = out[self.sinks :]
        if len(ring):
            r = ring - self.sinks
            newest = self._count - 1 - self.sinks
            ring.copy_(self.sinks + newest - (newest - r) % self.window)
        return out

    def mask(self, n_queries):
        if n_queries < 1 or n_queries > self._count:
            raise ValueError("n_queries")
        own = self._count - n_queries + torch.arange(n_queries, device=self.device)
        slot = torch.arange(self._n, device=self.device)
        return own.unsqueeze(1) - (self._count - self._n) >= slot.unsqueeze(0)

    def _may_go_back_to(self, length):
        oldest_needed = max(self.sinks, length - self.window)
        oldest_there = max(self.sinks, self._count - self.window)
        if oldest_needed < length and oldest_needed < oldest_there:
            raise ValueError("a token has been overwritten")
