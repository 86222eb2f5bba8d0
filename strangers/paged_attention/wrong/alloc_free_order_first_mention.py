# base: lazy
# bug: block 0 has 2 holders, block 1 one; release([0, 1, 0]); right: the queue ends 1, 0; wrong: 0, 1
# problem: BlockAllocator
# says: "Take one holder from each block named, in order; a block without one becomes free."


class BlockAllocator:
    """Blocks that were never used are not even listed: `fresh` is the first of them."""

    def __init__(self, n_blocks: int) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        self._n = n_blocks
        self._fresh = 0
        self._returned: deque[int] = deque()
        self._count: defaultdict[int, int] = defaultdict(int)

    @property
    def n_free(self) -> int:
        return self._n - self._fresh + len(self._returned)

    def count(self, block: int) -> int:
        if 0 <= block < self._n:
            return self._count[block]
        raise ValueError(f"no block {block}")

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError("count is negative")
        if count > self.n_free:
            raise RuntimeError("too few free blocks")
        # Fresh ones stand in front: what comes back goes to the end.
        new = min(count, self._n - self._fresh)
        taken = list(range(self._fresh, self._fresh + new))
        self._fresh += new
        taken += [self._returned.popleft() for _ in range(count - new)]
        for block in taken:
            self._count[block] = 1
        return taken

    def share(self, block: int) -> None:
        if not self.count(block):
            raise ValueError("the block is free")
        self._count[block] += 1

    def release(self, blocks: list[int]) -> None:
        done = []
        try:
            for block in blocks:
                if not self.count(block):
                    raise ValueError(f"block {block} has no holder left")
                self._count[block] -= 1
                done.append(block)
        except ValueError:
            for block in done:
                self._count[block] += 1
            raise
        # The queue: in order of the mention of each block that has become free.
        for block in dict.fromkeys(blocks):
            if self._count[block] == 0:
                self._returned.append(block)
