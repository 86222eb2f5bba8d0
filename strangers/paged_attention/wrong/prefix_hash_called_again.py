# base: linked
# bug: a hash_fn that counts: a new prompt of 3 full blocks; right: at most 3 calls; wrong: 6
# problem: PrefixCache
# says: "called once for each full block of a prompt at most"


class PrefixCache:
    """Entries live in growing arrays and are named by their number; 0 is `behind none`."""

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
        self._links = _Links(n_blocks)
        self._holders = [0] * n_blocks
        self._by_hash: dict[int, int] = {}  # hash -> block with an entry under it
        # What is entered for block i: number of the entry (0: none), hash, tokens, number behind.
        self._entry = [0] * n_blocks
        self._value = [0] * n_blocks
        self._tokens: list[tuple[int, ...]] = [()] * n_blocks
        self._behind = [0] * n_blocks
        self._made = 0

    @property
    def n_free(self) -> int:
        return self._links.size

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        length, size = len(tokens), self._size
        if length == 0:
            raise ValueError("the prompt is empty")
        n_blocks, n_full, n_may = (length - 1) // size + 1, length // size, (length - 1) // size
        blocks = [-1] * n_blocks
        values = [0] * n_full
        n_hits, n_free_hits, behind, hitting = 0, 0, 0, True
        for i in range(n_full):
            chunk = tuple(tokens[i * size : i * size + size])
            values[i] = self._hash(values[i - 1] if i else 0, chunk)
            if not hitting or i >= n_may:
                hitting = False
                continue
            block = self._by_hash.get(values[i], -1)
            if block < 0 or self._behind[block] != behind or self._tokens[block] != chunk:
                hitting = False
                continue
            blocks[i] = block
            behind = self._entry[block]
            n_hits += 1
            n_free_hits += self._holders[block] == 0
        if n_blocks - n_hits > self._links.size - n_free_hits:
            raise RuntimeError("too few blocks")
        for block in blocks[:n_hits]:
            if self._holders[block] == 0:
                self._links.take(block)
            self._holders[block] += 1
        for i in range(n_hits, n_blocks):
            block = blocks[i] = self._links.first()
            self._links.take(block)
            self._holders[block] = 1
            if i >= n_full:
                self._strike(block)
                continue
            chunk = tuple(tokens[i * size : i * size + size])
            values[i] = self._hash(values[i - 1] if i else 0, chunk)
            there = self._by_hash.get(values[i], -1)
            if there >= 0 and self._behind[there] == behind and self._tokens[there] == chunk:
                if there != block:
                    self._strike(block)
                behind = self._entry[there]
                continue
            self._strike(block)
            if there >= 0 and there != block:
                self._strike(there)
            self._made += 1
            self._by_hash[values[i]] = block
            self._entry[block], self._value[block] = self._made, values[i]
            self._tokens[block], self._behind[block] = chunk, behind
            behind = self._made
        return blocks, n_hits * size

    def _strike(self, block: int) -> None:
        if self._entry[block]:
            del self._by_hash[self._value[block]]
            self._entry[block] = 0
            self._tokens[block] = ()

    def release(self, blocks: list[int]) -> None:
        _held_often_enough(blocks, self._holders)
        for i in range(len(blocks) - 1, -1, -1):
            self._holders[blocks[i]] -= 1
            if self._holders[blocks[i]] == 0:
                self._links.put(blocks[i])
