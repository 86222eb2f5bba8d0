# base = "solution"
# caught_by = "QuantizedKVCache.attend"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.combinations"]

"""Attends in the dtype of the queries."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def attend(self, q_BHqTD):
        self._require_queries(q_BHqTD)
        group = q_BHqTD.shape[1] // self._sizes[1]
        keys, values = (x.repeat_interleave(group, dim=1) for x in (self.keys(), self.values()))
        scores = q_BHqTD @ keys.transpose(2, 3) / math.sqrt(q_BHqTD.shape[3])
        own = torch.arange(self._length - q_BHqTD.shape[2], self._length)[:, None]
        scores = scores.masked_fill(torch.arange(self._length) > own, -math.inf)
        return torch.softmax(scores, dim=-1) @ values
