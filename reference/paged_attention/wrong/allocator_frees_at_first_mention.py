# base = "solution"
# caught_by = "BlockAllocator.combinations"
# cause = "wrong_value"
# also_fails = []

"""Blocks join the queue in the order in which they are named first, not last."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def release(self, blocks):
        for block, times in Counter(blocks).items():
            _require(self.count(block) >= times, "released too often")
        for block, times in Counter(blocks).items():
            self._counts[block] -= times
            if self._counts[block] == 0:
                self._free.append(block)
