# base: plain_loops
# bug: append to slots [0, 1] where slot 1 is full: raises, but slot 0 has got its tokens
# problem: SlotCache
# says: "or a slot would exceed `max_length`; then no slot changes."

class SlotCache:
    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        _at_least(1, n_slots=n_slots, max_length=max_length, n_kv_heads=n_kv_heads,
                  head_dim=head_dim)
        self._max, self._h, self._d, self._dtype = max_length, n_kv_heads, head_dim, dtype
        self._device = device
        self._k = torch.zeros(n_slots, n_kv_heads, max_length, head_dim, dtype=dtype, device=device)
        self._v = torch.zeros_like(self._k)
        self._len = [None] * n_slots

    @property
    def active(self):
        return [i for i, n in enumerate(self._len) if n is not None]

    def acquire(self):
        for i in range(len(self._len)):
            if self._len[i] is None:
                self._len[i] = 0
                return i
        raise RuntimeError("all slots are in use")

    def release(self, slot):
        if slot not in self.active:
            raise ValueError("slot is not in use")
        self._len[slot] = None

    def append(self, slots, k_RHTD, v_RHTD):
        seen = []
        for s in slots:
            if s in seen or s not in self.active:
                raise ValueError("slot named twice or not in use")
            seen.append(s)
        _want_chunk(k_RHTD, v_RHTD, len(slots), self._h, self._d, self._dtype)
        t = k_RHTD.shape[2]
        for r, s in enumerate(slots):
            n = self._len[s]
            if n + t > self._max:
                raise ValueError("slot would overflow")
            self._k[s, :, n : n + t] = k_RHTD[r]
            self._v[s, :, n : n + t] = v_RHTD[r]
            self._len[s] = n + t

    def gather(self, slots):
        if len(slots) == 0:
            raise ValueError("no slot named")
        for s in slots:
            if s not in self.active:
                raise ValueError("slot is not in use")
        lengths = [self._len[s] for s in slots]
        S = max(lengths)
        k = torch.zeros(len(slots), self._h, S, self._d, dtype=self._dtype, device=self._device)
        v = torch.zeros_like(k)
        for r, s in enumerate(slots):
            k[r, :, : lengths[r]] = self._k[s, :, : lengths[r]]
            v[r, :, : lengths[r]] = self._v[s, :, : lengths[r]]
        return k, v, torch.tensor(lengths, dtype=torch.int64, device=self._device)
