# base: loops
# bug: BlockAllocator(3).count(-1); right: ValueError; wrong: the count of block 2
# problem: BlockAllocator
# says: "ValueError: if there is no such block."


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
        if block >= len(self._count):
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
            if times > self.count(block):
                raise ValueError(f"block {block} has too few holders")
        for block in blocks:
            self._count[block] -= 1
            if self._count[block] == 0:
                self._queue.append(block)
