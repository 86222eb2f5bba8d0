# base: plain_loops
# bug: append of 9 good keys with values of another head_dim raises, but capacity has grown from 0 to 9
# problem: KVCache
# says: "a call that raises leaves the object as it was"

class KVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0,
                 device="cpu"):
        _at_least(1, batch_size=batch_size, n_kv_heads=n_kv_heads, head_dim=head_dim)
        _at_least(0, capacity=capacity)
        self._b, self._h, self._d = batch_size, n_kv_heads, head_dim
        self._dtype, self._device = dtype, device
        self._k = torch.empty(batch_size, n_kv_heads, capacity, head_dim, dtype=dtype, device=device)
        self._v = torch.empty(batch_size, n_kv_heads, capacity, head_dim, dtype=dtype, device=device)
        self._n = 0

    @property
    def length(self):
        return self._n

    @property
    def capacity(self):
        return self._k.shape[2]

    def append(self, k_BHTD, v_BHTD):
        _want_chunk(k_BHTD, k_BHTD, self._b, self._h, self._d, self._dtype)
        t = k_BHTD.shape[2]
        end = self._n + t
        if end > self.capacity:
            room = max(2 * self.capacity, end)
            new = []
            for old in (self._k, self._v):
                buf = torch.empty(self._b, self._h, room, self._d, dtype=self._dtype,
                                  device=self._device)
                buf[:, :, : self._n] = old[:, :, : self._n]
                new.append(buf)
            self._k, self._v = new
        _want_chunk(k_BHTD, v_BHTD, self._b, self._h, self._d, self._dtype)
        for i in range(t):
            self._k[:, :, self._n + i] = k_BHTD[:, :, i]
            self._v[:, :, self._n + i] = v_BHTD[:, :, i]
        self._n = end

    def keys(self):
        return self._k[:, :, : self._n]

    def values(self):
        return self._v[:, :, : self._n]

    def truncate(self, length):
        if length < 0 or length > self._n:
            raise ValueError("length out of range")
        self._n = length
