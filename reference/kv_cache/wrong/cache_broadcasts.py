# base = "solution"
# caught_by = "KVCache.failed_append"
# cause = "wrong_error"
# also_fails = ["KVCache.combinations"]

"""Lets assignment broadcast one row over the batch and cast to the cache's dtype."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def append(self, k_BHTD, v_BHTD):
        rows, heads, dim = self._sizes
        try:
            shape = (rows, heads, k_BHTD.shape[2], dim)
            k = k_BHTD.to(self._dtype).expand(shape)
            v = v_BHTD.to(self._dtype).expand(shape)
        except (IndexError, RuntimeError) as error:
            raise ValueError("the chunk does not fit") from error
        super().append(k, v)
