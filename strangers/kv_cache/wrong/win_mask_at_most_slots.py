# base: recursion
# bug: window=4, 9 tokens, mask(6): 6 <= length, must give [6, 4], raises since there are only 4 slots
# problem: SlidingWindowCache
# says: "ValueError: unless `1 <= n_queries <= length`."

class SlidingWindowCache:
    """Recursive append: what crosses a border is appended in two parts."""

    def __init__(self, batch_size, n_kv_heads, head_dim, *, window, n_sinks=0,
                 dtype=torch.float32, device="cpu"):
        _check_all([(batch_size >= 1, "batch_size"), (n_kv_heads >= 1, "n_kv_heads"),
                    (head_dim >= 1, "head_dim"), (window >= 1, "window"),
                    (n_sinks >= 0, "n_sinks")])
        self._sizes = (batch_size, n_kv_heads, head_dim)
        self._w, self._s, self._length = window, n_sinks, 0
        self._kv = torch.zeros(2, batch_size, n_kv_heads, n_sinks + window, head_dim, dtype=dtype,
                               device=device)

    @property
    def length(self):
        return self._length

    def append(self, k_BHTD, v_BHTD):
        _check_chunk(k_BHTD, v_BHTD, self._sizes, self._kv.dtype)
        self._take(k_BHTD, v_BHTD)

    def _take(self, k, v):
        t, at = k.shape[2], self._length
        if t == 0:
            return
        if at < self._s:
            slot, room = at, self._s - at
        else:
            if t > self._w:  # all but the newest of the ring are skipped
                self._length += t - self._w
                self._take(k[:, :, t - self._w :], v[:, :, t - self._w :])
                return
            r = (at - self._s) % self._w
            slot, room = self._s + r, self._w - r
        now = min(t, room)
        self._kv[0, :, :, slot : slot + now] = k[:, :, :now]
        self._kv[1, :, :, slot : slot + now] = v[:, :, :now]
        self._length += now
        self._take(k[:, :, now:], v[:, :, now:])

    def _n(self):
        return min(self._length, self._s + self._w)

    def keys(self):
        return self._kv[0, :, :, : self._n()].clone()

    def values(self):
        return self._kv[1, :, :, : self._n()].clone()

    def positions(self):
        n, ring_start = self._n(), max(self._s, self._length - self._w)
        sinks = list(range(min(n, self._s)))
        ring = list(range(ring_start, self._length))
        turn = -((ring_start - self._s) % self._w) % self._w if len(ring) == self._w else 0
        return torch.tensor(sinks + ring[turn:] + ring[:turn], dtype=torch.int64,
                            device=self._kv.device)

    def mask(self, n_queries):
        _check_all([(1 <= n_queries <= self._n(), "n_queries")])
        row = (self.positions() <= self._length - n_queries).unsqueeze(0)
        if n_queries == 1:
            return row
        return torch.cat([row, self.mask(n_queries - 1)]) if n_queries < 200 else (
            self.positions()[None] <= torch.arange(self._length - n_queries, self._length,
                                                   device=self._kv.device)[:, None])

    def truncate(self, length):
        _check_all([(0 <= length <= self._length, "length"),
                    (length == self._length or length <= self._s
                     or self._length <= self._s + self._w, "overwritten")])
        self._length = length
