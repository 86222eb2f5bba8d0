# base: online_tiles
# bug: slots 0, 1 taken, 0 released and taken again: active must be [0, 1], is [1, 0]
# problem: SlotCache
# says: "Slots in use, ascending."

class SlotCache:
    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        _require(min(n_slots, max_length, n_kv_heads, head_dim) >= 1, "size below 1")
        self._hd, self._max, self._dtype, self._dev = (n_kv_heads, head_dim), max_length, dtype, device
        self._k = torch.empty(n_slots, max_length, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._v = torch.empty_like(self._k)
        self._lengths = {}
        self._free = set(range(n_slots))

    @property
    def active(self):
        return list(self._lengths)

    def acquire(self):
        if not self._free:
            raise RuntimeError("all slots are in use")
        slot = min(self._free)
        self._free.remove(slot)
        self._lengths[slot] = 0
        return slot

    def release(self, slot):
        _require(slot in self._lengths, "not in use")
        del self._lengths[slot]
        self._free.add(slot)

    def append(self, slots, k_RHTD, v_RHTD):
        _require(all(s in self._lengths for s in slots), "not in use")
        _require(len({*slots}) == len(slots), "named twice")
        for x in (k_RHTD, v_RHTD):
            _require(x.dim() == 4 and x.dtype == self._dtype, "rank or dtype")
            _require((x.size(1), x.size(3)) == self._hd and x.size(0) == len(slots), "shape")
        t = k_RHTD.size(2)
        _require(v_RHTD.size(2) == t, "T differs")
        _require(all(self._lengths[s] + t <= self._max for s in slots), "overflow")
        for s, k, v in zip(slots, k_RHTD, v_RHTD):
            n = self._lengths[s]
            self._k[s, n : n + t] = k.transpose(0, 1)
            self._v[s, n : n + t] = v.transpose(0, 1)
            self._lengths[s] = n + t

    def gather(self, slots):
        _require(len(slots) > 0, "none named")
        _require(all(s in self._lengths for s in slots), "not in use")
        lengths = torch.tensor([self._lengths[s] for s in slots], device=self._dev)
        S = int(lengths.max())
        both = []
        for buf in (self._k, self._v):
            out = torch.zeros(len(slots), S, *self._hd, dtype=self._dtype, device=self._dev)
            for r, s in enumerate(slots):
                n = self._lengths[s]
                out[r, :n] = buf[s, :n]
            both.append(out.transpose(1, 2))
        return both[0], both[1], lengths
