# base = "solution"
# caught_by = "SlidingWindowCache.rejects"
# cause = "wrong_error"
# also_fails = ["SlidingWindowCache.combinations"]

"""Takes a length outside of what it has seen for the nearest one inside."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def truncate(self, length):
        super().truncate(min(max(length, 0), self._length))
