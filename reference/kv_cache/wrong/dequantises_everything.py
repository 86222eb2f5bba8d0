# base = "solution"
# caught_by = "QuantizedKVCache.attend_memory"
# cause = "too_much_memory"

"""Right, but turns the whole cache back into floats at every step."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def attend(self, q_BHqTD):
        self._require_queries(q_BHqTD)
        lengths = torch.full((self._sizes[0],), self._length, device=q_BHqTD.device)
        keys, values = (self._dequantised(which, 0, self._length) for which in (0, 1))
        return decode_attention(q_BHqTD.float(), keys, values, lengths).to(q_BHqTD.dtype)
