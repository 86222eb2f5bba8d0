# base = "solution"
# caught_by = "KVCache.failed_append"
# cause = "wrong_error"
# also_fails = []

"""Takes a negative capacity for none."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def __init__(self, batch_size, n_kv_heads, head_dim, *, capacity=0, **options):
        super().__init__(batch_size, n_kv_heads, head_dim, capacity=max(capacity, 0), **options)
