# base: subclass
# bug: release([0, 1]); right: the queue ends 1, 0; wrong: 0, 1
# problem: PrefixCache
# says: "Take one holder from each block, the last one first"


class PrefixCache(_Counted):
    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        super().__init__(n_blocks)
        if block_size < 1:
            raise ValueError("block_size must be at least 1")
        self._size, self._hash = block_size, hash_fn
        self._entries: dict[int, _Entry] = {}
        self._of: dict[int, _Entry] = {}
        self._stays: _Entry | None = None

    @property
    def n_free(self) -> int:
        return len(self.queue)

    def on_take(self, block: int) -> None:
        entry = self._of.get(block)
        if entry is not None and entry is not self._stays:
            self._end(entry)

    def _end(self, entry: _Entry) -> None:
        del self._entries[entry.value], self._of[entry.block]

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        if len(tokens) == 0:
            raise ValueError("the prompt is empty")
        size = self._size
        last_full = len(tokens) // size
        keys: list[tuple[int, tuple[int, ...]]] = []
        path: list[_Entry] = []
        value = 0
        for i in range(last_full):
            chunk = tuple(tokens[i * size : (i + 1) * size])
            value = self._hash(value, chunk)
            keys.append((value, chunk))
            entry = self._entries.get(value)
            if len(path) == i and entry and entry.same(chunk, path[-1] if path else None):
                path.append(entry)
        # The last token is computed in any case: the block that it ends does not hit.
        known_whole = len(path) * size == len(tokens)
        self._stays = path.pop() if known_whole else None
        n_new = -(-len(tokens) // size) - len(path)
        if len(self.queue) - sum(not self.holders[entry.block] for entry in path) < n_new:
            raise RuntimeError("too few blocks")
        for entry in path:
            self.hold(entry.block)
        new = [self.take() for _ in range(n_new)]
        if not known_whole:
            behind = path[-1] if path else None
            for block, (value, chunk) in zip(new, keys[len(path) :]):
                if value in self._entries:
                    self._end(self._entries[value])
                behind = _Entry(value, chunk, behind, block)
                self._entries[value] = self._of[block] = behind
        return [entry.block for entry in path] + new, len(path) * size

    def release(self, blocks: list[int]) -> None:
        self.check_drop(blocks)
        for block in blocks:
            self.drop(block)
