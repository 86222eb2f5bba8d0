# base = "solution"
# caught_by = "KVCache.failed_append"
# cause = "wrong_error"
# also_fails = []

"""Makes a cache without rows, or of vectors without numbers."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def __init__(self, batch_size, n_kv_heads, head_dim, *, capacity=0, **options):
        super().__init__(
            max(batch_size, 1), n_kv_heads, max(head_dim, 1), capacity=capacity, **options
        )
        self._sizes = (batch_size, n_kv_heads, head_dim)
        self._kv = self._kv[:, :batch_size, :, :, :head_dim].contiguous()
