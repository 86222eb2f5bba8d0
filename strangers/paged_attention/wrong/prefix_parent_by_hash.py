# base: online
# bug: A B is entered, then A2 with the hash of A replaces A; prompt A2 B x; right: one hit; wrong: two, for the parents have equal hashes
# problem: PrefixCache
# says: "Equal hashes alone say nothing: they can collide."


class PrefixCache:
    """Entries are lists [hash, tokens, entry before, block]; identity says which is meant."""

    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        _need(n_blocks >= 1 and block_size >= 1, "sizes must be at least 1")
        self._size = block_size
        self._hash = hash_fn
        self._holders = [0] * n_blocks
        self._free = collections.OrderedDict((block, True) for block in range(n_blocks))
        self._table: dict[int, list] = {}
        self._mine: list[list | None] = [None] * n_blocks

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _find(self, value: int, chunk: tuple[int, ...], behind: list | None) -> list | None:
        entry = self._table.get(value)
        if entry is not None and entry[1] == chunk and (entry[2] or [0])[0] == (behind or [0])[0]:
            return entry
        return None

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        _need(len(tokens) > 0, "the prompt is empty")
        n_full, rest = divmod(len(tokens), self._size)
        most = n_full if rest else n_full - 1
        entry: list | None = None
        value, hits = 0, []
        pending: tuple[int, tuple[int, ...]] | None = None
        for i in range(n_full):
            chunk = tuple(tokens[i * self._size : (i + 1) * self._size])
            next_value = self._hash(value, chunk)
            found = self._find(next_value, chunk, entry) if i < most else None
            if found is None:
                pending = (next_value, chunk)
                break
            value, entry = next_value, found
            hits.append(found)
        n_new = n_full + (1 if rest else 0) - len(hits)
        dormant = sum(1 for hit in hits if self._holders[hit[3]] == 0)
        if n_new > len(self._free) - dormant:
            raise RuntimeError("too few blocks in the queue")
        blocks = [hit[3] for hit in hits]
        for block in blocks:
            self._holders[block] += 1
            self._free.pop(block, None)
        for i in range(len(hits), len(hits) + n_new):
            block, _ = self._free.popitem(last=False)
            self._holders[block] = 1
            blocks.append(block)
            if i >= n_full:
                self._end(block)
                continue
            if pending is None:
                chunk = tuple(tokens[i * self._size : (i + 1) * self._size])
                pending = (self._hash(value, chunk), chunk)
            value, chunk = pending
            pending = None
            same = self._find(value, chunk, entry)
            if same is None or same[3] != block:
                self._end(block)
            if same is not None:
                entry = same
                continue
            if value in self._table:
                self._end(self._table[value][3])
            entry = [value, chunk, entry, block]
            self._table[value] = self._mine[block] = entry
        return blocks, len(hits) * self._size

    def _end(self, block: int) -> None:
        entry = self._mine[block]
        if entry is not None:
            self._mine[block] = None
            del self._table[entry[0]]

    def release(self, blocks: list[int]) -> None:
        left: dict[int, int] = {}
        for block in blocks:
            _need(0 <= block < len(self._holders), f"no block {block}")
            left[block] = left.get(block, self._holders[block]) - 1
            _need(left[block] >= 0, f"block {block} named too often")
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._free[block] = True
