# base: dataclass_helpers
# bug: max_length=4: a fourth token must fit, raises
# problem: SlotCache
# says: "or a slot would exceed `max_length`"

class SlotCache:
    """A slot's memory is allocated when it is acquired and dropped when it is released."""

    def __init__(self, n_slots, max_length, n_kv_heads, head_dim, *, dtype=torch.float32,
                 device="cpu"):
        self._layout = Layout(1, n_kv_heads, head_dim, dtype, device)
        if n_slots < 1 or max_length < 1:
            raise ValueError("n_slots and max_length must be at least 1")
        self._n, self._max = n_slots, max_length
        self._slots: dict[int, Slot] = {}

    @property
    def active(self):
        return sorted(self._slots)

    def acquire(self):
        for i in range(self._n):
            if i not in self._slots:
                o = self._layout
                shape = (o.heads, self._max, o.dim)
                self._slots[i] = Slot(torch.zeros(shape, dtype=o.dtype, device=o.device),
                                      torch.zeros(shape, dtype=o.dtype, device=o.device))
                return i
        raise RuntimeError("all slots are in use")

    def _get(self, slot):
        if slot not in self._slots:
            raise ValueError(f"slot {slot} is not in use")
        return self._slots[slot]

    def release(self, slot):
        self._get(slot)
        del self._slots[slot]

    def append(self, slots, k_RHTD, v_RHTD):
        t = self._layout.tokens_of(k_RHTD, v_RHTD, batch=len(slots))
        targets = [self._get(s) for s in slots]
        if len(set(slots)) != len(slots):
            raise ValueError("a slot is named twice")
        if any(x.length + t >= self._max for x in targets) and t:
            raise ValueError("a slot would exceed max_length")
        for x, k, v in zip(targets, k_RHTD, v_RHTD):
            x.k[:, x.length : x.length + t] = k
            x.v[:, x.length : x.length + t] = v
            x.length += t

    def gather(self, slots):
        targets = [self._get(s) for s in slots]
        if not targets:
            raise ValueError("no slot is named")
        S = max(x.length for x in targets)
        # Behind a slot's length there are zeros: a slot is never rewound.
        k = torch.stack([x.k[:, :S] for x in targets])
        v = torch.stack([x.v[:, :S] for x in targets])
        return k, v, torch.tensor([x.length for x in targets], device=self._layout.device)
