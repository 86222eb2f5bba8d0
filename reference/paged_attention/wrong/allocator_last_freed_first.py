# base = "solution"
# caught_by = "BlockAllocator.reuse"
# cause = "wrong_value"
# also_fails = ["BlockAllocator.combinations"]

"""Keeps free blocks on a stack: what was released last is given out first."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def release(self, blocks):
        before = len(self._free)
        super().release(blocks)
        while len(self._free) > before:
            self._free.appendleft(self._free.pop())
            before += 1
