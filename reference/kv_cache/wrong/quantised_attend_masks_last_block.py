# base = "solution"
# caught_by = "QuantizedKVCache.combinations"
# cause = "wrong_value"
# also_fails = []
"""Hides later tokens in the last block of 64 only."""
# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def attend(self, q_BHqTD):
        self._require_queries(q_BHqTD)
        count, length = q_BHqTD.shape[2], self._length
        own = torch.arange(length - count, length)[:, None]
        tokens = torch.arange(length)
        seen = (tokens <= own) | (tokens < (length - 1) // 64 * 64)
        keys, values = (self._dequantised(which, 0, length) for which in (0, 1))
        seen = seen.expand(len(q_BHqTD), count, length)
        return _attend(q_BHqTD, keys, values, seen, 1 / math.sqrt(self._sizes[2]))
