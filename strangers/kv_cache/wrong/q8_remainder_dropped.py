# base: einsum_lazy
# bug: 130 tokens: values of tokens 128 and 129 must count, are dropped behind the full block of 128
# problem: QuantizedKVCache
# says: "Return the attention of the newest T tokens over the dequantised tokens."

class QuantizedKVCache:
    """Lazy: chunks are packed at once, but joined only when somebody asks."""

    def __init__(self, batch_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"):
        _assert(min(batch_size, n_kv_heads, head_dim) > 0, "size")
        b, h, d = self._args = (batch_size, n_kv_heads, head_dim)
        self._dtype, self._n = dtype, 0
        self._parts = [[torch.empty(b, h, 0, d, dtype=torch.int8, device=device)],
                       [torch.empty(b, h, 0, device=device)],
                       [torch.empty(b, h, 0, d, dtype=torch.int8, device=device)],
                       [torch.empty(b, h, 0, device=device)]]

    @property
    def length(self):
        return self._n

    def append(self, k_BHTD, v_BHTD):
        t = _same(k_BHTD, v_BHTD, *self._args, self._dtype)
        for i, x in enumerate((k_BHTD, v_BHTD)):
            x = x.float()
            scale = x.abs().amax(-1) / 127
            scale = scale + (scale == 0)  # 1 where all is zero
            q = torch.round(x / scale[..., None]).clamp(-127, 127).to(torch.int8)
            self._parts[2 * i].append(q)
            self._parts[2 * i + 1].append(scale)
        self._n += t

    def _joined(self, i):
        if len(self._parts[i]) > 1:
            self._parts[i] = [torch.cat(self._parts[i], 2)]
        return self._parts[i][0]

    def packed_keys(self):
        return self._joined(0), self._joined(1)

    def packed_values(self):
        return self._joined(2), self._joined(3)

    def keys(self):
        return torch.einsum("bhsd,bhs->bhsd", self._joined(0).float(), self._joined(1)).to(self._dtype)

    def values(self):
        return torch.einsum("bhsd,bhs->bhsd", self._joined(2).float(), self._joined(3)).to(self._dtype)

    def attend(self, q_BHqTD):
        b, h, d = self._args
        n = self._n
        _assert(q_BHqTD.dim() == 4 and q_BHqTD.dtype == self._dtype, "rank or dtype")
        hq, t = q_BHqTD.shape[1], q_BHqTD.shape[2]
        _assert(list(q_BHqTD.shape) == [b, hq, t, d] and hq % h == 0 and 1 <= t <= n, "size")
        q = q_BHqTD.float().reshape(b, h, hq // h, t, d) / math.sqrt(d)
        kq, ks = self.packed_keys()
        vq, vs = self.packed_values()
        tile = 128
        score = torch.cat([torch.einsum("bhgtd,bhsd->bhgts", q, kq[:, :, a : a + tile].float())
                           for a in range(0, n, tile)], -1)
        score = torch.einsum("bhgts,bhs->bhgts", score, ks)
        see = torch.arange(n, device=q.device) <= torch.arange(n - t, n, device=q.device)[:, None]
        weight = score.masked_fill(~see, -math.inf).softmax(-1)
        weight = torch.einsum("bhgts,bhs->bhgts", weight, vs)
        out = torch.zeros_like(q)
        for a in range(0, max(n - tile, 0) + 1, tile):
            out += torch.einsum("bhgts,bhsd->bhgtd", weight[..., a : a + tile],
                                vq[:, :, a : a + tile].float())
        return out.reshape(b, hq, t, d).to(self._dtype)
