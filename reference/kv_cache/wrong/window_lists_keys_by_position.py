# base = "solution"
# caught_by = "SlidingWindowCache.ring"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.long_chunk", "SlidingWindowCache.combinations"]

"""Without sinks, lists keys in order of position."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def keys(self):
        if self._sinks:
            return super().keys()
        return super().keys()[:, :, self.positions().argsort()]
