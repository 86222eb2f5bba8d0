# base: vectorised
# bug: a hash with few values: the same tokens behind another beginning with an equal hash; right: no hit; wrong: hit
# problem: PrefixCache
# says: "behind the very entry that the block before it has hit"


class PrefixCache:
    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        if min(n_blocks, block_size) < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks, self._block_size, self._hash_fn = n_blocks, block_size, hash_fn
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(n_blocks))
        self._held: Counter[int] = Counter()
        self._by_hash: dict[int, _Entry] = {}
        self._by_block: dict[int, _Entry] = {}
        self._serial = 0

    @property
    def n_free(self) -> int:
        return len(self._free)

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        n, size = len(tokens), self._block_size
        if n == 0:
            raise ValueError("the prompt is empty")
        chunks = [tuple(tokens[i : i + size]) for i in range(0, n - n % size, size)]
        hashes = []
        for chunk in chunks:
            hashes.append(self._hash_fn(hashes[-1] if hashes else 0, chunk))
        hits: list[_Entry] = []
        for chunk, value in zip(chunks[: (n - 1) // size], hashes):
            entry = self._by_hash.get(value)
            behind = hits[-1].serial if hits else 0
            if entry is None or entry.tokens != chunk:
                break
            hits.append(entry)
        hit_blocks = [entry.block for entry in hits]
        revived = [block for block in hit_blocks if block in self._free]
        missing = (n + size - 1) // size - len(hits)
        if len(self._free) - len(revived) < missing:
            raise RuntimeError("too few blocks")
        for block in revived:
            del self._free[block]
        new = list(islice(self._free, missing))
        for block in new:
            del self._free[block]
        self._held.update(hit_blocks + new)
        last = hits[-1].serial if hits else 0
        todo = list(zip(hashes[len(hits) :], chunks[len(hits) :]))
        if todo:
            entry = self._by_hash.get(todo[0][0])
            if entry is not None and (entry.tokens, entry.behind) == (todo[0][1], last):
                # Known as a whole: the entry stays, in whichever block it is.
                for block in new:
                    if block != entry.block:
                        self._drop(block)
                return hit_blocks + new, len(hits) * size
        for block in new:
            self._drop(block)
        for block, (value, chunk) in zip(new, todo):
            if value in self._by_hash:
                self._drop(self._by_hash[value].block)
            self._serial += 1
            entry = _Entry(self._serial, value, chunk, last, block)
            self._by_hash[value] = self._by_block[block] = entry
            last = self._serial
        return hit_blocks + new, len(hits) * size

    def _drop(self, block: int) -> None:
        entry = self._by_block.pop(block, None)
        if entry is not None:
            del self._by_hash[entry.hash]

    def release(self, blocks: list[int]) -> None:
        if any(self._held.get(block, 0) < times for block, times in Counter(blocks).items()):
            raise ValueError("a block is named more often than it has holders")
        for block in blocks[::-1]:
            self._held[block] -= 1
            if not self._held[block]:
                del self._held[block]
                self._free[block] = None
