# base: sdpa_torch
# bug: contiguous chunk into an empty cache of capacity 0, then the caller overwrites the chunk: keys() must not change, do change
# problem: KVCache
# says: "nothing you return or store may share memory with a caller's input"

class KVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, capacity=0,
                 device="cpu"):
        if any(s < 1 for s in (batch_size, n_kv_heads, head_dim)) or capacity < 0:
            raise ValueError("size below its minimum")
        make = torch.empty
        self.k = make(batch_size, n_kv_heads, capacity, head_dim, dtype=dtype, device=device)
        self.v = make(batch_size, n_kv_heads, capacity, head_dim, dtype=dtype, device=device)
        self.n = 0

    @property
    def length(self):
        return self.n

    @property
    def capacity(self):
        return self.k.size(2)

    def append(self, k_BHTD, v_BHTD):
        b, h, _, d = self.k.shape
        _check_chunk(k_BHTD, v_BHTD, (b, h, d), self.k.dtype)
        t = k_BHTD.size(2)
        if self.capacity == 0 and t > 0:
            # Nothing to keep: the chunk is all there is.
            self.k, self.v = k_BHTD.contiguous(), v_BHTD.contiguous()
            self.n = t
            return
        if self.n + t > self.capacity:
            room = max(2 * self.capacity, self.n + t)
            self.k, self.v = _resize(self.k, self.n, room), _resize(self.v, self.n, room)
        index = torch.arange(self.n, self.n + t, device=self.k.device)
        self.k.index_copy_(2, index, k_BHTD)
        self.v.index_copy_(2, index, v_BHTD)
        self.n += t

    def keys(self):
        return self.k.narrow(2, 0, self.n)

    def values(self):
        return self.v.narrow(2, 0, self.n)

    def truncate(self, length):
        if length not in range(self.n + 1):
            raise ValueError("length out of range")
        self.n = length
