# base: online
# bug: BlockAllocator(3): allocate(1), release([0]), allocate(3); right: 1, 2, 0; wrong: 1, 0, 0 (right while the ring stands where it began, as after allocate(3))
# problem: BlockAllocator
# says: "A block that becomes free goes to its end."


class BlockAllocator:
    """A ring buffer of free blocks: `head` is where the next one is taken from."""

    def __init__(self, n_blocks: int) -> None:
        _need(n_blocks >= 1, "n_blocks must be at least 1")
        self._ring = list(range(n_blocks))
        self._head = 0
        self._free = n_blocks
        self._holders = [0] * n_blocks

    @property
    def n_free(self) -> int:
        return self._free

    def count(self, block: int) -> int:
        _need(0 <= block < len(self._holders), f"no block {block}")
        return self._holders[block]

    def allocate(self, count: int) -> list[int]:
        _need(count >= 0, "count is negative")
        if count > self._free:
            raise RuntimeError(f"{count} blocks wanted, {self._free} free")
        size = len(self._ring)
        taken = [self._ring[(self._head + i) % size] for i in range(count)]
        self._head = (self._head + count) % size
        self._free -= count
        for block in taken:
            self._holders[block] = 1
        return taken

    def share(self, block: int) -> None:
        _need(self.count(block) > 0, f"block {block} is free")
        self._holders[block] += 1

    def release(self, blocks: list[int]) -> None:
        left: dict[int, int] = {}
        for block in blocks:
            left[block] = left.get(block, self.count(block)) - 1
            _need(left[block] >= 0, f"block {block} named too often")
        for block in blocks:
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._ring[self._free] = block
                self._free += 1
