# base = "solution"
# caught_by = "QuantizedKVCache.combinations"
# cause = "wrong_value"
# also_fails = []
"""An online softmax over blocks that never scales down what came before."""
# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def attend(self, q_BHqTD):
        self._require_queries(q_BHqTD)
        rows, heads, count, dim = q_BHqTD.shape
        q = q_BHqTD.float().reshape(rows, self._sizes[1], -1, count, dim) / math.sqrt(dim)
        own = torch.arange(self._length - count, self._length)[:, None]
        total, out, peak = 0.0, 0.0, None
        for start, end in self._blocks():
            keys, values = (self._dequantised(which, start, end)[:, :, None] for which in (0, 1))
            scores = q @ keys.transpose(3, 4)
            if peak is None:
                peak = scores.amax(dim=-1, keepdim=True)
            later = torch.arange(start, end) > own
            weights = torch.exp((scores - peak).clamp(max=0.0)).masked_fill(later, 0.0)
            total = total + weights.sum(dim=-1, keepdim=True)
            out = out + weights @ values
        return (out / total).reshape(rows, heads, count, dim).to(q_BHqTD.dtype)
