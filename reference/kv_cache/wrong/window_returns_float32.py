# base = "solution"
# caught_by = "SlidingWindowCache.ring"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.combinations"]

"""Returns what it has stored as float32."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def keys(self):
        return super().keys().float()

    def values(self):
        return super().values().float()
