# base = "solution"
# caught_by = "BlockAllocator.misuse"
# cause = "wrong_error"
# also_fails = ["BlockAllocator.combinations"]

"""A negative count is none."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def allocate(self, count):
        return super().allocate(max(count, 0))
