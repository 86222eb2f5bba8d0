# base = "solution"
# caught_by = "BlockAllocator.combinations"
# cause = "wrong_error"
# also_fails = []

"""Takes block -1 for the last one."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def count(self, block):
        _require(block < len(self._counts), f"there is no block {block}")
        return self._counts[block]

    def release(self, blocks):
        _require(min(blocks, default=0) >= 0, "there is no such block")
        super().release(blocks)
