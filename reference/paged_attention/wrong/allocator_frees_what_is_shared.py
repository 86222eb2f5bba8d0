# base = "solution"
# caught_by = "BlockAllocator.sharing"
# cause = "wrong_value"
# also_fails = ["BlockAllocator.combinations", "BlockAllocator.second_life"]

"""The first holder that leaves takes the block with it."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def release(self, blocks):
        for block in set(blocks):
            _require(self.count(block) >= blocks.count(block), "released too often")
        for block in dict.fromkeys(blocks):
            super().release([block] * self.count(block))
