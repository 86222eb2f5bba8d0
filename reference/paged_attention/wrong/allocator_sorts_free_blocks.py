# base = "solution"
# caught_by = "BlockAllocator.reuse"
# cause = "wrong_value"
# also_fails = ["BlockAllocator.combinations"]

"""Gives out the free block with the lowest number."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def allocate(self, count):
        self._free = deque(sorted(self._free))
        return super().allocate(count)
