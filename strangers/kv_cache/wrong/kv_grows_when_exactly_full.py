# base: dataclass_helpers
# bug: capacity=4 and 4 tokens appended: capacity must stay 4, becomes 8
# problem: KVCache
# says: "An append that needs more than `capacity` sets it"

@dataclass
class Growing:
    """A buffer [B, H, room, ...] of which the first `used` tokens count."""

    data: Tensor
    used: int = 0

    @property
    def room(self) -> int:
        return self.data.shape[2]

    def reserve(self, extra: int) -> None:
        needed = self.used + extra
        if needed < self.room or not extra:
            return
        shape = (*self.data.shape[:2], max(2 * self.room, needed), *self.data.shape[3:])
        bigger = torch.empty(shape, dtype=self.data.dtype, device=self.data.device)
        bigger[:, :, : self.used] = self.live
        self.data = bigger

    def push(self, x: Tensor) -> None:
        self.reserve(x.shape[2])
        self.data[:, :, self.used : self.used + x.shape[2]] = x
        self.used += x.shape[2]

    @property
    def live(self) -> Tensor:
        return self.data[:, :, : self.used]


class KVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0,
                 device="cpu"):
        self._layout = Layout(batch_size, n_kv_heads, head_dim, dtype, device)
        if capacity < 0:
            raise ValueError("capacity must not be negative")
        shape = (batch_size, n_kv_heads, capacity, head_dim)
        self._k = Growing(torch.empty(shape, dtype=dtype, device=device))
        self._v = Growing(torch.empty(shape, dtype=dtype, device=device))

    @property
    def length(self):
        return self._k.used

    @property
    def capacity(self):
        return self._k.room

    def append(self, k_BHTD, v_BHTD):
        self._layout.tokens_of(k_BHTD, v_BHTD)
        self._k.push(k_BHTD)
        self._v.push(v_BHTD)

    def keys(self):
        return self._k.live

    def values(self):
        return self._v.live

    def truncate(self, length):
        if not 0 <= length <= self.length:
            raise ValueError("length out of range")
        self._k.used = self._v.used = length
