# base: recursion
# bug: slots 0, 1, 2 taken, 0 then 2 released: acquire must return 0, returns 2
# problem: SlotCache
# says: "Take the lowest free slot into use"

class SlotCache:
    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        _check_all([(n_slots >= 1, "n_slots"), (max_length >= 1, "max_length"),
                    (n_kv_heads >= 1, "n_kv_heads"), (head_dim >= 1, "head_dim")])
        self._sizes, self._max = (n_kv_heads, head_dim), max_length
        self._kv = torch.zeros(n_slots, 2, n_kv_heads, max_length, head_dim, dtype=dtype,
                               device=device)
        self._free = list(range(n_slots))
        self._length = {}

    @property
    def active(self):
        return [s for s in range(len(self._kv)) if s in self._length]

    def acquire(self):
        if not self._free:
            raise RuntimeError("all slots are in use")
        slot = self._free.pop(0)
        self._length[slot] = 0
        return slot

    def release(self, slot):
        self._in_use([slot])
        del self._length[slot]
        self._free = [slot, *self._free]

    def _in_use(self, slots):
        if slots:
            _check_all([(slots[0] in self._length, "slot is not in use")])
            self._in_use(slots[1:])

    def append(self, slots, k_RHTD, v_RHTD):
        slots = list(slots)
        self._in_use(slots)
        _check_all([(len(set(slots)) == len(slots), "named twice")])
        _check_chunk(k_RHTD, v_RHTD, (len(slots), *self._sizes), self._kv.dtype)
        t = k_RHTD.shape[2]
        _check_all([(self._length[s] + t <= self._max, "overflow") for s in slots])

        def put(r):
            if r == len(slots):
                return
            s = slots[r]
            n = self._length[s]
            self._kv[s, 0, :, n : n + t] = k_RHTD[r]
            self._kv[s, 1, :, n : n + t] = v_RHTD[r]
            self._length[s] = n + t
            put(r + 1)

        put(0)

    def gather(self, slots):
        slots = list(slots)
        _check_all([(len(slots) > 0, "no slot is named")])
        self._in_use(slots)
        lengths = torch.tensor([self._length[s] for s in slots], device=self._kv.device)
        S = int(lengths.max())
        live = (torch.arange(S, device=self._kv.device) < lengths[:, None])[:, None, None, :, None]
        both = torch.where(live, self._kv[slots][:, :, :, :S],
                           torch.zeros((), dtype=self._kv.dtype, device=self._kv.device))
        return both[:, 0], both[:, 1], lengths
