# base: recursive
# bug: BlockAllocator(2).allocate(3) raises RuntimeError; right: n_free stays 2; wrong: 0, two blocks leak
# problem: BlockAllocator
# says: "RuntimeError: if fewer are free; then none is taken."


class BlockAllocator:
    """Two stacks make a queue: blocks come back on one and are taken from the other."""

    def __init__(self, n_blocks: int) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        self._out = list(range(n_blocks - 1, -1, -1))
        self._in: list[int] = []
        self._counts = [0] * n_blocks

    @property
    def n_free(self) -> int:
        return len(self._out) + len(self._in)

    def count(self, block: int) -> int:
        if not 0 <= block < len(self._counts):
            raise ValueError("no such block")
        return self._counts[block]

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError("count is negative")
        taken = []
        for _ in range(count):
            if not self._out:
                self._out, self._in = self._in[::-1], []
            if not self._out:
                raise RuntimeError("too few free blocks")
            taken.append(self._out.pop())
            self._counts[taken[-1]] += 1
        return taken

    def share(self, block: int) -> None:
        if self.count(block) < 1:
            raise ValueError("the block is free")
        self._counts[block] += 1

    def release(self, blocks: list[int]) -> None:
        after: dict[int, int] = {}
        freed = []
        for block in blocks:
            after[block] = after.get(block, self.count(block)) - 1
            if after[block] < 0:
                raise ValueError("a block is named too often")
            if after[block] == 0:
                freed.append(block)
        for block, count in after.items():
            self._counts[block] = count
        self._in += freed
