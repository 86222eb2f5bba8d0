# base = "solution"
# caught_by = "QuantizedKVCache.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Makes a cache without rows, heads or numbers."""

# ruff: noqa: F821 - appended to solution.py


class QuantizedKVCache(QuantizedKVCache):
    def __init__(self, *sizes, **options):
        super().__init__(*(max(size, 1) for size in sizes), **options)
