# base = "solution"
# caught_by = "BlockAllocator.reuse"
# cause = "wrong_value"
# also_fails = [
#   "BlockAllocator.combinations",
#   "BlockAllocator.exhaustion",
#   "BlockAllocator.misuse",
#   "BlockAllocator.sharing",
# ]

"""The queue begins with the last block."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def __init__(self, n_blocks):
        super().__init__(n_blocks)
        self._free.reverse()
