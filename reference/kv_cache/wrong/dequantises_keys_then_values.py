# base = "solution"
# caught_by = "QuantizedKVCache.attend_memory"
# cause = "too_much_memory"

"""Right, but turns all keys into floats at once, and when they are gone all values."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def attend(self, q_BHqTD):
        self._require_queries(q_BHqTD)
        (B, Hq, T, D), S = q_BHqTD.shape, self._length
        H = self._sizes[1]
        rows = q_BHqTD.float().reshape(B, H, -1, D) / math.sqrt(D)
        scores = rows @ self._numbers[0, :, :, :S].float().transpose(2, 3)
        scores = scores * self._scales[0, :, :, None, :S]
        seen = torch.arange(S) <= torch.arange(S - T, S)[:, None]
        scores = scores.view(B, H, Hq // H, T, S).masked_fill(~seen, -math.inf)
        weights = torch.softmax(scores, dim=-1).view(B, H, -1, S)
        weights = weights * self._scales[1, :, :, None, :S]
        out = weights @ self._numbers[1, :, :, :S].float()
        return out.view(B, Hq, T, D).to(q_BHqTD.dtype)
