# base = "solution"
# caught_by = "BlockAllocator.growth"
# cause = "too_slow"
# also_fails = []

"""Right, but keeps free blocks in a list and takes them from its front, one by one."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def __init__(self, n_blocks):
        super().__init__(n_blocks)
        self._free = list(self._free)

    def allocate(self, count):
        _require(count >= 0, f"cannot allocate {count} blocks")
        if count > len(self._free):
            raise RuntimeError(f"{count} blocks wanted, {len(self._free)} free")
        blocks = [self._free.pop(0) for _ in range(count)]
        for block in blocks:
            self._counts[block] = 1
        return blocks
