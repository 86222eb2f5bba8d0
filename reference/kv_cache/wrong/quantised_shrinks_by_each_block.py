# base = "solution"
# caught_by = "QuantizedKVCache.combinations"
# cause = "wrong_value"

"""Merges blocks by the maximum of the newest: where scores fall far, its factor overflows."""

# ruff: noqa: F821 - appended to solution.py

_maximum = torch.maximum


class QuantizedKVCache(QuantizedKVCache):
    def attend(self, q_BHqTD):
        torch.maximum = lambda peak, newest: newest
        try:
            return super().attend(q_BHqTD)
        finally:
            torch.maximum = _maximum
