# base = "solution"
# caught_by = "fork.combinations"
# cause = "wrong_error"
# also_fails = []

"""Makes a cache whose sizes are 0."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def __init__(self, n_blocks, block_size, n_kv_heads, head_dim, **options):
        sizes = (max(size, 1) for size in (n_blocks, block_size, n_kv_heads, head_dim))
        super().__init__(*sizes, **options)
