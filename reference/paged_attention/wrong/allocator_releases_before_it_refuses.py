# base = "solution"
# caught_by = "BlockAllocator.misuse"
# cause = "wrong_value"
# also_fails = ["BlockAllocator.combinations"]

"""Releases the good blocks before it comes to the bad one and raises."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def release(self, blocks):
        for block in blocks:
            super().release([block])
