# base = "solution"
# caught_by = "BlockAllocator.growth"
# cause = "too_slow"
# also_fails = []

"""Right, but searches the whole queue for every block that is released."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def release(self, blocks):
        for block, times in Counter(blocks).items():
            _require(block not in self._free, "released twice")
            _require(self.count(block) >= times, "released too often")
        for block in blocks:
            self._counts[block] -= 1
            if self._counts[block] == 0 and block not in self._free:
                self._free.append(block)
