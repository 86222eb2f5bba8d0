# base = "solution"
# caught_by = "BlockAllocator.exhaustion"
# cause = "wrong_value"
# also_fails = ["BlockAllocator.combinations"]

"""Takes what is free, and notices then that it is too little."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def allocate(self, count):
        if count > self.n_free:
            super().allocate(self.n_free)
        return super().allocate(count)
