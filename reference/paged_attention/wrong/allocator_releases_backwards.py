# base = "solution"
# caught_by = "BlockAllocator.reuse"
# cause = "wrong_value"
# also_fails = ["BlockAllocator.combinations"]

"""Takes the last block named first."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def release(self, blocks):
        super().release(blocks[::-1])
