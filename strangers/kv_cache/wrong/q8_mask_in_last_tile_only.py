# base: online_tiles
# bug: 100 tokens and T = 8: queries stand at 92 … 99; the mask must also hide tokens 93 to 95 of the first tile of 96, works in the last tile only
# problem: QuantizedKVCache
# says: "query t stands at position `length - T + t`, sees the positions up to its own"

class QuantizedKVCache:
    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        _require(min(batch_size, n_kv_heads, head_dim) >= 1, "size below 1")
        self._shape, self._dtype = (batch_size, n_kv_heads, head_dim), dtype
        self._used = self._room = 0
        self._buf = {}
        for name in "kv":
            self._buf[name] = torch.empty(0, batch_size, n_kv_heads, head_dim, dtype=torch.int8,
                                          device=device)
            self._buf[name + "s"] = torch.empty(0, batch_size, n_kv_heads, device=device)

    length = property(lambda self: self._used)

    @staticmethod
    def _quantise(x):
        x = x.float()
        scale = x.abs().max(dim=-1).values / 127
        scale[scale == 0] = 1
        q = torch.round(x / scale[..., None])
        return q.clamp_(-127, 127).to(torch.int8), scale

    def append(self, k_BHTD, v_BHTD):
        for x in (k_BHTD, v_BHTD):
            _require(x.dim() == 4 and x.dtype == self._dtype, "rank or dtype")
            _require((x.size(0), x.size(1), x.size(3)) == self._shape, "shape")
        t = k_BHTD.size(2)
        _require(t == v_BHTD.size(2), "T differs")
        kq, ks = self._quantise(k_BHTD.permute(2, 0, 1, 3))
        vq, vs = self._quantise(v_BHTD.permute(2, 0, 1, 3))
        need = self._used + t
        if need > self._room:
            self._room = max(2 * self._room, need)
            for name, old in self._buf.items():
                new = old.new_empty(self._room, *old.shape[1:])
                new[: self._used] = old[: self._used]
                self._buf[name] = new
        for name, x in (("k", kq), ("ks", ks), ("v", vq), ("vs", vs)):
            self._buf[name][self._used : need] = x
        self._used = need

    def _packed(self, name):
        n = self._used
        return (self._buf[name][:n].permute(1, 2, 0, 3).clone(),
                self._buf[name + "s"][:n].permute(1, 2, 0).clone())

    def packed_keys(self):
        return self._packed("k")

    def packed_values(self):
        return self._packed("v")

    def _part(self, name, lo, hi):
        x = self._buf[name][lo:hi].float() * self._buf[name + "s"][lo:hi, :, :, None]
        return x.permute(1, 2, 0, 3)

    def keys(self):
        return self._part("k", 0, self._used).to(self._dtype)

    def values(self):
        return self._part("v", 0, self._used).to(self._dtype)

    def attend(self, q_BHqTD):
        B, H, D = self._shape
        _require(q_BHqTD.dim() == 4 and q_BHqTD.dtype == self._dtype, "rank or dtype of q")
        Hq, T = q_BHqTD.shape[1:3]
        n = self._used
        _require(tuple(q_BHqTD.shape) == (B, Hq, T, D) and Hq % H == 0, "shape of q")
        _require(1 <= T <= n, "T outside 1 ... length")
        G = Hq // H
        q = (q_BHqTD.float() / math.sqrt(D)).reshape(B, H, G * T, D)
        own = torch.arange(n - T, n, device=q.device).repeat(G)
        out = _online(
            q,
            lambda a, b: (self._part("k", a, b), self._part("v", a, b)),
            n,
            lambda a, b: torch.arange(a, b, device=q.device) > own[:, None] if b == n else None,
        )
        return out.reshape(B, Hq, T, D).to(self._dtype)
