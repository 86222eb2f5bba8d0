# base: vectorised
# bug: slot 0 held 5 tokens, is reacquired and given 1; gather([0, 1]) with 4 tokens in slot 1: row 0 must be zero from 1 on, shows tokens of the old request
# problem: SlotCache
# says: "k_RHSD, v_RHSD: S is the largest length among them; zeros from a row's length on."

class SlotCache:
    def __init__(self, n_slots: int, max_length: int, n_kv_heads: int, head_dim: int, *,
                 dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        if min(n_slots, max_length, n_kv_heads, head_dim) < 1:
            raise ValueError("a size is below its minimum")
        self._kv = torch.zeros((2, n_slots, n_kv_heads, max_length, head_dim), dtype=dtype,
                               device=device)
        self._lengths = torch.full((n_slots,), -1, dtype=torch.int64, device=device)  # -1: free

    @property
    def active(self) -> list[int]:
        return (self._lengths >= 0).nonzero()[:, 0].tolist()

    def acquire(self) -> int:
        free = (self._lengths < 0).nonzero()[:, 0]
        if not len(free):
            raise RuntimeError("all slots are in use")
        self._lengths[free[0]] = 0
        return int(free[0])

    def _index(self, slots: list[int]) -> Tensor:
        if not set(slots) <= set(self.active):
            raise ValueError("a slot is not in use")
        return torch.tensor(slots, dtype=torch.int64, device=self._lengths.device)

    def release(self, slot: int) -> None:
        self._lengths[self._index([slot])] = -1

    def append(self, slots: list[int], k_RHTD: Tensor, v_RHTD: Tensor) -> None:
        rows = self._index(slots)
        if len(set(slots)) < len(slots):
            raise ValueError("a slot is named twice")
        _, _, H, M, D = self._kv.shape
        t = _fits(k_RHTD, v_RHTD, (len(slots), H, D), self._kv.dtype)
        starts = self._lengths[rows]
        if bool((starts + t > M).any()):
            raise ValueError("a slot would overflow")
        where = starts[:, None] + torch.arange(t, device=rows.device)
        # Two index tensors with a slice between them: [R, T] goes first.
        self._kv[0][rows[:, None], :, where] = k_RHTD.transpose(1, 2)
        self._kv[1][rows[:, None], :, where] = v_RHTD.transpose(1, 2)
        self._lengths[rows] = starts + t

    def gather(self, slots: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        if not len(slots):
            raise ValueError("no slot is named")
        rows = self._index(slots)
        lengths = self._lengths[rows]
        S = int(lengths.max())
        kv = self._kv[:, rows, :, :S]
        return kv[0], kv[1], lengths
