# base = "solution"
# caught_by = "SlidingWindowCache.ring"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.rejects", "SlidingWindowCache.combinations"]

"""Returns the number of slots in use as the length."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    @property
    def length(self):
        return self._used()
