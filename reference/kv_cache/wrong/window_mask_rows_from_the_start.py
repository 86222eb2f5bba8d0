# base = "solution"
# caught_by = "SlidingWindowCache.mask"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.combinations"]

"""Takes the first tokens for the queries, not the newest ones."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def mask(self, n_queries):
        _require(1 <= n_queries <= self._length, f"{n_queries} queries")
        return self.positions() <= torch.arange(n_queries)[:, None]
