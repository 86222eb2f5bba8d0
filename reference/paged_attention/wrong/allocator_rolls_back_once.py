# base = "solution"
# caught_by = "BlockAllocator.combinations"
# cause = "wrong_value"
# also_fails = []

"""A refused release gives a block back once, however often it was named."""

# ruff: noqa: F821 - appended to solution.py


class BlockAllocator(BlockAllocator):
    def release(self, blocks):
        done = []
        for block in blocks:
            if not 0 <= block < len(self._counts) or self._counts[block] == 0:
                for one in dict.fromkeys(done):
                    self._counts[one] += 1
                raise ValueError(f"block {block} is released too often")
            self._counts[block] -= 1
            done.append(block)
        last = {block: place for place, block in enumerate(blocks)}
        for place, block in enumerate(blocks):
            if last[block] == place and self._counts[block] == 0:
                self._free.append(block)
