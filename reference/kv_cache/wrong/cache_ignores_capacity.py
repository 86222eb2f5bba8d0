# base = "solution"
# caught_by = "KVCache.growth"
# cause = "wrong_value"
# also_fails = ["KVCache.combinations"]

"""Starts with no room, whatever capacity is asked for."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def __init__(self, batch_size, n_kv_heads, head_dim, *, capacity=0, **options):
        _require(capacity >= 0, "capacity")
        super().__init__(batch_size, n_kv_heads, head_dim, **options)
