# base = "solution"
# caught_by = "BlockAllocator.second_life"
# cause = "wrong_value"
# also_fails = []

"""A block that was shared begins its next life with the holders it once had."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def share(self, block):
        super().share(block)
        self.__dict__.setdefault("_most", {})[block] = self._counts[block]

    def allocate(self, count):
        blocks = super().allocate(count)
        for block in blocks:
            self._counts[block] = self.__dict__.get("_most", {}).pop(block, 1)
        return blocks
