# base: generators
# bug: gather([2, 0]): row 0 must be slot 2, is slot 0
# problem: SlotCache
# says: "Return what the R slots named hold, in the order named."

class SlotCache:
    """A slot is a list of chunks; nothing is reserved."""

    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        _raise_first(_too_small(1, n_slots=n_slots, max_length=max_length, n_kv_heads=n_kv_heads,
                                head_dim=head_dim))
        self._max, self._heads, self._dim = max_length, n_kv_heads, head_dim
        self._dtype, self._device = dtype, device
        self._chunks = [None] * n_slots

    @property
    def active(self):
        return [s for s, chunks in enumerate(self._chunks) if chunks is not None]

    def acquire(self):
        for slot in (s for s, chunks in enumerate(self._chunks) if chunks is None):
            self._chunks[slot] = []
            return slot
        raise RuntimeError("all slots are in use")

    def _strangers(self, slots):
        active = set(self.active)
        return (f"slot {s} is not in use" for s in slots if s not in active)

    def release(self, slot):
        _raise_first(self._strangers([slot]))
        self._chunks[slot] = None

    def _filled(self, slot):
        return sum(k.shape[1] for k, _ in self._chunks[slot])

    def append(self, slots, k_RHTD, v_RHTD):
        def problems():
            yield from self._strangers(slots)
            if len(set(slots)) < len(slots):
                yield "a slot is named twice"
            yield from _problems_of_chunk(k_RHTD, v_RHTD, (len(slots), self._heads, self._dim),
                                          self._dtype)
            for s in slots:
                if self._filled(s) + k_RHTD.shape[2] > self._max:
                    yield f"slot {s} would exceed {self._max}"

        _raise_first(problems())
        for r, s in enumerate(slots):
            self._chunks[s].append((k_RHTD[r].clone(), v_RHTD[r].clone()))

    def gather(self, slots):
        if len(slots) == 0:
            raise ValueError("no slot is named")
        _raise_first(self._strangers(slots))
        slots = sorted(slots)
        lengths = [self._filled(s) for s in slots]
        k = torch.zeros(len(slots), self._heads, max(lengths), self._dim, dtype=self._dtype,
                        device=self._device)
        v = torch.zeros_like(k)
        for r, s in enumerate(slots):
            at = 0
            for ck, cv in self._chunks[s]:
                k[r, :, at : at + ck.shape[1]] = ck
                v[r, :, at : at + ck.shape[1]] = cv
                at += ck.shape[1]
        return k, v, torch.tensor(lengths, dtype=torch.int64, device=self._device)
