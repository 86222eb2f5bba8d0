# base: core
# bug: allocate(1), release([0]), share(0); right: ValueError, the block is free; wrong: accepted (only blocks that were never used are refused)
# problem: BlockAllocator
# says: "ValueError: if it is free, or there is no such block."


class BlockAllocator:
    """A block's place in the queue is a ticket; `first` is the next ticket to be served."""

    def __init__(self, n_blocks: int) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        self._block_of = {ticket: ticket for ticket in range(n_blocks)}
        self._first, self._next = 0, n_blocks
        self._lives: dict[int, int] = {}
        self._counts = dict.fromkeys(range(n_blocks), 0)

    @property
    def n_free(self) -> int:
        return self._next - self._first

    def count(self, block: int) -> int:
        if block not in self._counts:
            raise ValueError("no such block")
        return self._counts[block]

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError("count is negative")
        if self._first + count > self._next:
            raise RuntimeError("too few free blocks")
        taken = [self._block_of.pop(t) for t in range(self._first, self._first + count)]
        self._first += count
        for block in taken:
            self._counts[block] = max(1, self._counts[block])
        return taken

    def share(self, block: int) -> None:
        if self.count(block) == 0 and block not in self._lives:
            raise ValueError("the block is free")
        self._counts[block] += 1

    def release(self, blocks: list[int]) -> None:
        named = Counter(blocks)
        if any(self.count(block) < times for block, times in named.items()):
            raise ValueError("a block is named more often than it has holders")
        for block in blocks:
            self._counts[block] -= 1
            if self._counts[block] == 0:
                self._lives[block] = self._lives.get(block, 0) + 1
                self._block_of[self._next] = block
                self._next += 1
