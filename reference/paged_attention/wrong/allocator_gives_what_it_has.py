# base = "solution"
# caught_by = "BlockAllocator.exhaustion"
# cause = "wrong_error"
# also_fails = ["BlockAllocator.combinations"]

"""Returns fewer blocks than were asked for, instead of refusing."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def allocate(self, count):
        return super().allocate(min(count, self.n_free))
