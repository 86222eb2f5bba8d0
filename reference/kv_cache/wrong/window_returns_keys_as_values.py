# base = "solution"
# caught_by = "SlidingWindowCache.ring"
# cause = "wrong_value"
# also_fails = [
#   "SlidingWindowCache.sinks",
#   "SlidingWindowCache.long_chunk",
#   "SlidingWindowCache.truncate",
#   "SlidingWindowCache.rejects",
#   "SlidingWindowCache.combinations",
# ]

"""Returns the keys where values are asked for."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def values(self):
        return self.keys()
