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

"""Returns positions as int32."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def positions(self):
        return super().positions().int()
