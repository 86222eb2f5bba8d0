# base = "solution"
# caught_by = "SlidingWindowCache.mask"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.combinations"]

"""Returns a mask to add to scores, 0 and -inf."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def mask(self, n_queries):
        seen = super().mask(n_queries)
        return torch.zeros(seen.shape).masked_fill(~seen, -math.inf)
