# base = "solution"
# caught_by = "SlidingWindowCache.sinks"
# cause = "wrong_value"
# also_fails = [
#   "SlidingWindowCache.long_chunk",
#   "SlidingWindowCache.mask",
#   "SlidingWindowCache.truncate",
#   "SlidingWindowCache.rejects",
#   "SlidingWindowCache.combinations",
# ]

"""Treats the sinks' slots as part of the ring."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def __init__(self, batch_size, n_kv_heads, head_dim, *, window, n_sinks=0, **options):
        _require_sizes(window=window)
        super().__init__(batch_size, n_kv_heads, head_dim, window=window + n_sinks, **options)
