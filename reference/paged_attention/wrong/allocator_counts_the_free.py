# base = "solution"
# caught_by = "BlockAllocator.growth"
# cause = "too_slow"
# also_fails = []

"""Right, but counts the free blocks of the whole pool whenever some are wanted."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def allocate(self, count):
        free = sum(holders == 0 for holders in self._counts)
        if count > free:
            raise RuntimeError(f"{count} blocks wanted, {free} free")
        return super().allocate(count)
