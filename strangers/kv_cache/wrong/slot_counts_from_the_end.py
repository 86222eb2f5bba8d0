# base: subclassing
# bug: last slot in use, release(-1): must raise ValueError, frees the last slot
# problem: SlotCache
# says: "ValueError: if `slot` is not in use."

class SlotCache(_Base):
    """Each slot is a KVCache of its own; a fresh one on acquire."""

    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        super().__init__(1, n_kv_heads, head_dim, dtype, device, n_slots=n_slots,
                         max_length=max_length)
        self._slots = [None] * n_slots
        self._max = max_length

    length = None
    truncate = None

    @property
    def active(self):
        return [i for i, cache in enumerate(self._slots) if cache is not None]

    def acquire(self):
        if None not in self._slots:
            raise RuntimeError("all slots are in use")
        slot = self._slots.index(None)
        self._slots[slot] = KVCache(1, self.heads, self.dim, dtype=self.dtype, device=self.device)
        return slot

    def release(self, slot):
        self._cache(slot)
        self._slots[slot] = None

    def _cache(self, slot):
        if slot >= len(self._slots) or self._slots[slot] is None:
            raise ValueError("slot is not in use")
        return self._slots[slot]

    def append(self, slots, k_RHTD, v_RHTD):
        caches = [self._cache(s) for s in slots]
        if len(set(slots)) != len(slots):
            raise ValueError("a slot is named twice")
        t = self._checked(k_RHTD, v_RHTD, rows=len(slots))
        if any(c.length + t > self._max for c in caches):
            raise ValueError("max_length")
        for r, c in enumerate(caches):
            c.append(k_RHTD[r : r + 1], v_RHTD[r : r + 1])

    def gather(self, slots):
        if not slots:
            raise ValueError("no slot is named")
        caches = [self._cache(s) for s in slots]
        lengths = [c.length for c in caches]
        shape = (len(slots), self.heads, max(lengths), self.dim)
        k = torch.zeros(shape, dtype=self.dtype, device=self.device)
        v = torch.zeros(shape, dtype=self.dtype, device=self.device)
        for r, c in enumerate(caches):
            k[r, :, : c.length] = c.keys()[0]
            v[r, :, : c.length] = c.values()[0]
        return k, v, torch.tensor(lengths, dtype=torch.int64, device=self.device)
