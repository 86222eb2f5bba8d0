# base: torchlib
# bug: entry of block 0 is replaced by that of block 1 under an equal hash; later block 0 is given out; right: the entry of block 1 stays; wrong: it is gone
# problem: PrefixCache
# says: "a new one replaces what stood there, and the old block then has no entry"


class PrefixCache:
    """What lies in block i stands in four lists; a version number says which content is meant."""

    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        if block_size < 1:
            raise ValueError("block_size must be at least 1")
        self._size, self._hash = block_size, hash_fn
        self._free: dict[int, None] = dict.fromkeys(range(n_blocks))
        self._holders = [0] * n_blocks
        self._hash_of: list[int | None] = [None] * n_blocks
        self._tokens_of: list[tuple[int, ...]] = [()] * n_blocks
        self._behind: list[tuple[int, int]] = [(-1, 0)] * n_blocks
        self._version = [0] * n_blocks
        self._lookup: dict[int, int] = {}

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _is(self, value: int, chunk: tuple[int, ...], behind: tuple[int, int]) -> int:
        """Return the block of exactly this entry, or -1."""
        block = self._lookup.get(value, -1)
        if block >= 0 and (self._tokens_of[block], self._behind[block]) == (chunk, behind):
            return block
        return -1

    def _clear(self, block: int) -> None:
        value = self._hash_of[block]
        if value is not None:
            self._lookup.pop(value, None)
            self._hash_of[block] = None
            self._version[block] += 1

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        n = len(tokens)
        if n == 0:
            raise ValueError("empty prompt")
        chunks = list(zip(*[iter(tokens)] * self._size))
        hashes, value = [], 0
        for chunk in chunks:
            value = self._hash(value, chunk)
            hashes.append(value)
        blocks: list[int] = []
        behind = (-1, 0)
        while len(blocks) < (n - 1) // self._size:
            block = self._is(hashes[len(blocks)], chunks[len(blocks)], behind)
            if block < 0:
                break
            blocks.append(block)
            behind = (block, self._version[block])
        n_hits = len(blocks)
        n_blocks = math.ceil(n / self._size)
        if n_blocks - n_hits > len(self._free) - sum(block in self._free for block in blocks):
            raise RuntimeError("too few blocks")
        for block in blocks:
            self._free.pop(block, None)
            self._holders[block] += 1
        for i in range(n_hits, n_blocks):
            block = next(iter(self._free))
            self._free.pop(block)
            self._holders[block] = 1
            blocks.append(block)
            same = self._is(hashes[i], chunks[i], behind) if i < len(chunks) else -1
            if same != block:
                self._clear(block)
            if i >= len(chunks):
                continue
            if same < 0:
                self._lookup[hashes[i]] = block
                self._hash_of[block] = hashes[i]
                self._tokens_of[block] = chunks[i]
                self._behind[block] = behind
                same = block
            behind = (same, self._version[same])
        return blocks, n_hits * self._size

    def release(self, blocks: list[int]) -> None:
        for block, times in Counter(blocks).items():
            if not 0 <= block < len(self._holders) or self._holders[block] < times:
                raise ValueError(f"block {block} is not held {times} times")
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._free[block] = None
