# base = "solution"
# caught_by = "BlockAllocator.growth"
# cause = "too_slow"
# also_fails = []

"""Right, but searches the list of released blocks for each of them."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def release(self, blocks):
        for block in blocks:
            _require(self.count(block) >= blocks.count(block), f"block {block}: too often")
        for block in blocks:
            self._counts[block] -= 1
            if self._counts[block] == 0:
                self._free.append(block)
