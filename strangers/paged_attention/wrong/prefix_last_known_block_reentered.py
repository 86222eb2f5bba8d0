# base: dataclasses_
# bug: N = 1: allocate([1, 2]) twice, then [1, 2, 3]; right: the second block of the first prompt hits; wrong: that of the second prompt
# problem: PrefixCache
# says: "then that stays, and the new block has none"


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
        self._blocks = [_CacheBlock(i) for i in range(n_blocks)]
        self._queue = {block.number: block for block in self._blocks}
        self._entries: dict[int, _Entry] = {}

    @property
    def n_free(self) -> int:
        return len(self._queue)

    def _end(self, entry: _Entry | None) -> None:
        if entry is not None:
            del self._entries[entry.hash]
            entry.block.entry = None
            entry.block = None

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        if not tokens:
            raise ValueError("empty prompt")
        keys: list[tuple[int, tuple[int, ...]]] = []
        parent = 0
        for start in range(0, len(tokens) - self._size + 1, self._size):
            chunk = tuple(tokens[start : start + self._size])
            parent = self._hash(parent, chunk)
            keys.append((parent, chunk))
        hits: list[_CacheBlock] = []
        last: _Entry | None = None
        for value, chunk in keys[: (len(tokens) - 1) // self._size]:
            entry = self._entries.get(value)
            if entry is None or entry.tokens != chunk or entry.behind is not last:
                break
            hits.append(entry.block)
            last = entry
        n_new = ceil_div(len(tokens), self._size) - len(hits)
        if n_new > len(self._queue) - sum(block.holders == 0 for block in hits):
            raise RuntimeError("too few blocks")
        for block in hits:
            self._queue.pop(block.number, None)
            block.holders += 1
        result = [block.number for block in hits]
        for i in range(n_new):
            block = self._queue.pop(next(iter(self._queue)))
            block.holders = 1
            result.append(block.number)
            entry = None
            if len(hits) + i < len(keys):
                value, chunk = keys[len(hits) + i]
                entry = _Entry(value, chunk, last, block)
            self._end(block.entry)
            if entry is not None:
                self._end(self._entries.get(entry.hash))
                self._entries[entry.hash] = entry
                block.entry = last = entry
        return result, len(hits) * self._size

    def release(self, blocks: list[int]) -> None:
        times: dict[int, int] = {}
        for number in blocks:
            if number not in range(len(self._blocks)):
                raise ValueError(f"no block {number}")
            times[number] = times.get(number, 0) + 1
        if any(self._blocks[number].holders < n for number, n in times.items()):
            raise ValueError("a block is named more often than it has holders")
        for number in blocks[::-1]:
            block = self._blocks[number]
            block.holders -= 1
            if block.holders == 0:
                self._queue[number] = block
