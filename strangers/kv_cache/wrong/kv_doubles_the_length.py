# base: vectorised
# bug: capacity 8, rewound to 3, then 6 tokens appended: capacity must be 16, becomes 9 (twice the length, not the capacity)
# problem: KVCache
# says: "An append that needs more than `capacity` sets it to `max(2 * capacity, needed)`"

class KVCache:
    def __init__(self, batch_size: int, n_kv_heads: int, head_dim: int, *,
                 dtype: torch.dtype = torch.float32, capacity: int = 0, device: str = "cpu") -> None:
        if min(batch_size, n_kv_heads, head_dim) < 1 or capacity < 0:
            raise ValueError("a size is below its minimum")
        self._like = (batch_size, n_kv_heads, head_dim)
        self._kv = torch.empty((2, batch_size, n_kv_heads, capacity, head_dim), dtype=dtype,
                               device=device)
        self._length = 0

    @property
    def length(self) -> int:
        return self._length

    @property
    def capacity(self) -> int:
        return self._kv.shape[3]

    def append(self, k_BHTD: Tensor, v_BHTD: Tensor) -> None:
        t = _fits(k_BHTD, v_BHTD, self._like, self._kv.dtype)
        start, stop = self._length, self._length + t
        if stop > self.capacity:
            shape = list(self._kv.shape)
            shape[3] = max(2 * start, stop)
            grown = self._kv.new_empty(shape)
            grown[:, :, :, :start] = self._kv[:, :, :, :start]
            self._kv = grown
        self._kv[0, :, :, start:stop] = k_BHTD
        self._kv[1, :, :, start:stop] = v_BHTD
        self._length = stop

    def keys(self) -> Tensor:
        return self._kv[0, :, :, : self._length]

    def values(self) -> Tensor:
        return self._kv[1, :, :, : self._length]

    def truncate(self, length: int) -> None:
        if not 0 <= length <= self._length:
            raise ValueError("length out of range")
        self._length = length
