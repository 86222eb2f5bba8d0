# base = "solution"
# caught_by = "BlockAllocator.growth"
# cause = "too_slow"
# also_fails = []

"""Right, but copies all counts and the queue before each release, to go back if it is refused."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def release(self, blocks):
        before = list(self._counts), deque(self._free)
        try:
            for block in blocks:
                _require(self.count(block) > 0, f"block {block} is released too often")
                self._counts[block] -= 1
                if self._counts[block] == 0:
                    self._free.append(block)
        except ValueError:
            self._counts, self._free = before
            raise
