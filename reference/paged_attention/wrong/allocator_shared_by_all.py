# base = "solution"
# caught_by = "BlockAllocator.combinations"
# cause = "wrong_value or wrong_error"
# also_fails = []

"""The counts belong to the class: two allocators at once share them."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    _of_all = [0] * 100

    def __init__(self, n_blocks):
        super().__init__(n_blocks)
        self._n_blocks, self._counts = n_blocks, self._of_all
        self._of_all[:] = [0] * 100

    def count(self, block):
        _require(0 <= block < self._n_blocks, f"there is no block {block}")
        return self._counts[block]
