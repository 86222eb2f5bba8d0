# base = "solution"
# caught_by = "SlidingWindowCache.rejects"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.combinations"]

"""Sets the length before it finds out that the rewind is impossible."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def truncate(self, length):
        try:
            super().truncate(length)
        except ValueError:
            if 0 <= length <= self._length:
                self._length = length
            raise
