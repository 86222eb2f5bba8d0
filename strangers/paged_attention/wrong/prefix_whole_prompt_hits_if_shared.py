# base: lazy
# bug: N = 2: [1, 2, 3, 4] known as a whole, asked for again; right: one hit, 2 tokens; wrong: two hits, 4 tokens
# problem: PrefixCache
# says: "only the first (n - 1) // block_size blocks may hit"


class PrefixCache:
    """The queue is a heap of (time of joining, block); who left it early is skipped later."""

    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        if n_blocks < 1 or block_size < 1:
            raise ValueError("sizes must be at least 1")
        self._n, self._size, self._hash = n_blocks, block_size, hash_fn
        self._heap = [(i, i) for i in range(n_blocks)]
        self._joined = list(range(n_blocks))  # when block i joined the queue, -1 if it is held
        self._clock = n_blocks
        self._n_free = n_blocks
        self._holders = [0] * n_blocks
        self._entries: dict[int, tuple] = {}  # hash -> (tokens, entry behind, block, serial)
        self._hash_of: dict[int, int] = {}

    @property
    def n_free(self) -> int:
        return self._n_free

    def _hold(self, block: int) -> None:
        if self._holders[block] == 0:
            self._joined[block] = -1
            self._n_free -= 1
        self._holders[block] += 1

    def _pop(self) -> int:
        while True:
            time, block = heapq.heappop(self._heap)
            if self._joined[block] == time:
                return block

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        if not tokens:
            raise ValueError("the prompt is empty")
        n, size = len(tokens), self._size
        chunks = (tuple(tokens[i : i + size]) for i in range(0, n // size * size, size))
        keyed: list[tuple[int, tuple[int, ...]]] = []
        for chunk in chunks:
            keyed.append((self._hash(keyed[-1][0] if keyed else 0, chunk), chunk))
        hits: list[int] = []
        serial = 0
        for value, chunk in keyed:
            known = self._entries.get(value)
            if len(hits) == n // size or known is None or known[:2] != (chunk, serial):
                break
            hits.append(known[2])
            serial = known[3]
        new = (n + size - 1) // size - len(hits)
        if self._n_free - [self._holders[block] for block in hits].count(0) < new:
            raise RuntimeError("too few blocks")
        for block in hits:
            self._hold(block)
        blocks = hits[:]
        for i in range(len(hits), len(hits) + new):
            block = self._pop()
            self._hold(block)
            blocks.append(block)
            if i >= len(keyed):
                self._lose(block)
                continue
            value, chunk = keyed[i]
            known = self._entries.get(value)
            if known is not None and known[:2] == (chunk, serial):
                if known[2] != block:
                    self._lose(block)
                serial = known[3]
                continue
            self._lose(block)
            if value in self._entries:
                self._lose(self._entries[value][2])
            self._clock += 1
            self._entries[value] = (chunk, serial, block, self._clock)
            self._hash_of[block] = value
            serial = self._clock
        return blocks, len(hits) * size

    def _lose(self, block: int) -> None:
        value = self._hash_of.pop(block, None)
        if value is not None:
            del self._entries[value]

    def release(self, blocks: list[int]) -> None:
        wanted: defaultdict[int, int] = defaultdict(int)
        for block in blocks:
            wanted[block] += 1
            if not 0 <= block < self._n or wanted[block] > self._holders[block]:
                raise ValueError(f"block {block} is not held so often")
        for block in blocks[::-1]:
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._clock += 1
                self._joined[block] = self._clock
                self._n_free += 1
                heapq.heappush(self._heap, (self._clock, block))
