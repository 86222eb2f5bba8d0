# base = "solution"
# caught_by = "BlockAllocator.combinations"
# cause = "wrong_error"
# also_fails = []

"""Makes an allocator of no block."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def __init__(self, n_blocks):
        super().__init__(max(n_blocks, 1))
