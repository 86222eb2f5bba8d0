# base = "solution"
# caught_by = "BlockAllocator.sharing"
# cause = "wrong_value"
# also_fails = ["BlockAllocator.combinations"]

"""Takes one holder from each block named, however often it is named."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def release(self, blocks):
        for block, times in Counter(blocks).items():
            _require(self.count(block) >= times, "released too often")
        super().release(list(dict.fromkeys(blocks)))
