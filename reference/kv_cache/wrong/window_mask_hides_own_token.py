# base = "solution"
# caught_by = "SlidingWindowCache.mask"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.combinations"]

"""Lets a query see what came before it, but not its own token."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def mask(self, n_queries):
        _require(1 <= n_queries <= self._length, f"{n_queries} queries")
        own = torch.arange(self._length - n_queries, self._length)[:, None]
        return self.positions() < own
