# base = "solution"
# caught_by = "SlidingWindowCache.ring"
# cause = "crash"
# also_fails = ["SlidingWindowCache.combinations"]

"""Takes a chunk without tokens for a mistake."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def append(self, k_BHTD, v_BHTD):
        _require(k_BHTD.numel() > 0, "nothing to append")
        super().append(k_BHTD, v_BHTD)
