# base = "solution"
# caught_by = "SlidingWindowCache.rejects"
# cause = "wrong_error"
# also_fails = ["SlidingWindowCache.combinations"]

"""Returns a mask without rows, or of more queries than tokens."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def mask(self, n_queries):
        own = torch.arange(self._length - n_queries, self._length)[:, None]
        return self.positions() <= own
