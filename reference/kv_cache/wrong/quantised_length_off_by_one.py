# base = "solution"
# caught_by = "QuantizedKVCache.error_bound"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.bad_input"]

"""Returns the position of the next token plus one as the length."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    @property
    def length(self):
        return self._length + 1
