# base: flat_strides
# bug: keys with T = 3 and values with T = 1: must raise ValueError, the one value is stored three times
# problem: KVCache
# says: "unless both are [B, H, T, D] with the same T"

class KVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0,
                 device="cpu"):
        _bad(batch_size < 1, n_kv_heads < 1, head_dim < 1, capacity < 0)
        self._b, self._h, self._d = batch_size, n_kv_heads, head_dim
        self._cap, self._len = capacity, 0
        self._token = batch_size * n_kv_heads * head_dim
        # Memory [S, 2, B, H, D], flat: growing is a copy of the front.
        self._flat = torch.empty(capacity * 2 * self._token, dtype=dtype, device=device)

    @property
    def length(self):
        return self._len

    @property
    def capacity(self):
        return self._cap

    def _view(self, which, start, stop):
        size = (self._b, self._h, stop - start, self._d)
        stride = (self._h * self._d, self._d, 2 * self._token, 1)
        return self._flat.as_strided(size, stride, (2 * start + which) * self._token)

    def append(self, k_BHTD, v_BHTD):
        t = _chunk(k_BHTD, k_BHTD, self._b, self._h, self._d, self._flat.dtype)
        _chunk(v_BHTD, v_BHTD, self._b, self._h, self._d, self._flat.dtype)
        _bad(v_BHTD.size(2) not in (1, t))
        need = self._len + t
        if need > self._cap:
            cap = max(2 * self._cap, need)
            flat = self._flat.new_empty(cap * 2 * self._token)
            used = self._len * 2 * self._token
            flat[:used] = self._flat[:used]
            self._flat, self._cap = flat, cap
        if t:
            self._view(0, self._len, need).copy_(k_BHTD)
            self._view(1, self._len, need).copy_(v_BHTD.expand(-1, -1, t, -1) if v_BHTD.size(2) == 1 else v_BHTD)
        self._len = need

    def keys(self):
        return self._part(0)

    def values(self):
        return self._part(1)

    def _part(self, which):
        if self._len == 0:
            return self._flat.new_empty(self._b, self._h, 0, self._d)
        return self._view(which, 0, self._len)

    def truncate(self, length):
        _bad(length < 0, length > self._len)
        self._len = length
