# base: loops
# bug: block 0 has one holder; release([0, 0]); right: ValueError; wrong: accepted, count(0) is -1
# problem: BlockAllocator
# says: "A block may be named several times, up to its count."


class BlockAllocator:
    def __init__(self, n_blocks: int) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        self._count = [0] * n_blocks
        self._queue = deque(range(n_blocks))

    @property
    def n_free(self) -> int:
        return len(self._queue)

    def count(self, block: int) -> int:
        if block < 0 or block >= len(self._count):
            raise ValueError(f"no block {block}")
        return self._count[block]

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError("count is negative")
        if count > len(self._queue):
            raise RuntimeError("too few free blocks")
        taken = []
        for _ in range(count):
            block = self._queue.popleft()
            self._count[block] = 1
            taken.append(block)
        return taken

    def share(self, block: int) -> None:
        if self.count(block) == 0:
            raise ValueError(f"block {block} is free")
        self._count[block] += 1

    def release(self, blocks: list[int]) -> None:
        named: dict[int, int] = {}
        for block in blocks:
            named[block] = named.get(block, 0) + 1
        for block, times in named.items():
            if self.count(block) == 0:
                raise ValueError(f"block {block} has too few holders")
        for block in blocks:
            self._count[block] -= 1
            if self._count[block] == 0:
                self._queue.append(block)
