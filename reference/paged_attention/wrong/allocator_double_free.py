# base = "solution"
# caught_by = "BlockAllocator.misuse"
# cause = "wrong_error"
# also_fails = ["BlockAllocator.combinations"]

"""A block that is free is released again, and stands in the queue twice."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def release(self, blocks):
        sum(map(self.count, blocks))  # raises for a block that does not exist
        for block in blocks:
            self._counts[block] = max(0, self._counts[block] - 1)
            if self._counts[block] == 0:
                self._free.append(block)
