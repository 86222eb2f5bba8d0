# base = "solution"
# caught_by = "SlidingWindowCache.rejects"
# cause = "wrong_error"
# also_fails = []

"""Makes a cache without rows, heads or numbers."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def __init__(self, batch_size, n_kv_heads, head_dim, **options):
        sizes = (batch_size, n_kv_heads, head_dim)
        super().__init__(*(max(size, 1) for size in sizes), **options)
        self._sizes = sizes
