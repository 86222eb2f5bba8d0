# base = "solution"
# caught_by = "SlidingWindowCache.mask"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.combinations"]

"""Takes slot numbers for positions in the mask: right until the ring wraps."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def mask(self, n_queries):
        _require(1 <= n_queries <= self._length, f"{n_queries} queries")
        own = torch.arange(self._used() - n_queries, self._used())[:, None]
        return torch.arange(self._used()) <= own
