# base: loops
# bug: a free block with an entry is given out as a last block that is not full; then the old prompt again; right: no hit; wrong: a hit on a block with other content
# problem: PrefixCache
# says: "When a free block is given out for other content its own entry ends"


class PrefixCache:
    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        if n_blocks < 1 or block_size < 1:
            raise ValueError("sizes must be at least 1")
        self._size = block_size
        self._hash = hash_fn
        self._holders = [0] * n_blocks
        self._queue = dict.fromkeys(range(n_blocks))  # ordered; the values mean nothing
        self._table: dict[int, list] = {}  # hash -> [number, tokens, number of the parent, block]
        self._entry_of: dict[int, int] = {}  # block -> hash
        self._next = 1

    @property
    def n_free(self) -> int:
        return len(self._queue)

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        if not tokens:
            raise ValueError("empty prompt")
        n = len(tokens)
        full = []
        parent = 0
        for i in range(n // self._size):
            chunk = tuple(tokens[i * self._size : (i + 1) * self._size])
            parent = self._hash(parent, chunk)
            full.append((parent, chunk))
        hits: list[int] = []
        behind = 0
        for h, chunk in full[: (n - 1) // self._size]:
            entry = self._table.get(h)
            if entry is None or entry[1] != chunk or entry[2] != behind:
                break
            hits.append(entry[3])
            behind = entry[0]
        n_new = -(-n // self._size) - len(hits)
        n_free_hits = 0
        for block in hits:
            if self._holders[block] == 0:
                n_free_hits += 1
        if len(self._queue) - n_free_hits < n_new:
            raise RuntimeError("too few blocks")
        for block in hits:
            if self._holders[block] == 0:
                del self._queue[block]
            self._holders[block] += 1
        blocks = list(hits)
        for i in range(len(hits), len(hits) + n_new):
            block = next(iter(self._queue))
            del self._queue[block]
            self._holders[block] = 1
            blocks.append(block)
            if i < len(full):
                h, chunk = full[i]
                entry = self._table.get(h)
                if entry is not None and entry[1] == chunk and entry[2] == behind:
                    if entry[3] != block:
                        self._forget(block)
                    behind = entry[0]
                    continue
                self._forget(block)
                if entry is not None and self._table.get(h) is entry:
                    del self._entry_of[entry[3]]
                self._table[h] = [self._next, chunk, behind, block]
                self._entry_of[block] = h
                behind = self._next
                self._next += 1
        return blocks, len(hits) * self._size

    def _forget(self, block: int) -> None:
        if block in self._entry_of:
            del self._table[self._entry_of.pop(block)]

    def release(self, blocks: list[int]) -> None:
        named: dict[int, int] = {}
        for block in blocks:
            named[block] = named.get(block, 0) + 1
        for block, times in named.items():
            if block < 0 or block >= len(self._holders) or times > self._holders[block]:
                raise ValueError(f"block {block} is not held so often")
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._queue[block] = None
