# base = "solution"
# caught_by = "BlockAllocator.combinations"
# cause = "wrong_error"
# also_fails = []

"""Refuses to share a free block only if it was never used."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def __init__(self, n_blocks):
        super().__init__(n_blocks)
        self._used = set()

    def allocate(self, count):
        blocks = super().allocate(count)
        self._used.update(blocks)
        return blocks

    def share(self, block):
        _require(self.count(block) > 0 or block in self._used, f"block {block} is free")
        self._counts[block] += 1
