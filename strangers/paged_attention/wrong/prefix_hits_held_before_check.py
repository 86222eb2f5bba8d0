# base: core
# bug: 2 blocks, N = 1: allocate([1, 2]), release, allocate([1, 3, 4]) raises; right: n_free 2; wrong: 1, the hit leaks
# problem: PrefixCache
# says: "nothing has changed"


class PrefixCache:
    """An entry is found under (hash, tokens, serial of the entry before); `under` says which one a hash has.

    A block that is given out loses its entry, whatever it gets next: also if that is the same again.
    """

    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        if n_blocks < 1 or block_size < 1:
            raise ValueError("sizes must be at least 1")
        self._size, self._hash = block_size, hash_fn
        self._count = dict.fromkeys(range(n_blocks), 0)
        self._queue = dict.fromkeys(range(n_blocks))
        self._found: dict[tuple, tuple[int, int]] = {}  # key -> block, serial
        self._under: dict[int, tuple] = {}
        self._key_of: dict[int, tuple] = {}
        self._serial = 0

    @property
    def n_free(self) -> int:
        return len(self._queue)

    def _end(self, key: tuple | None) -> None:
        if key is not None:
            block, _ = self._found.pop(key)
            del self._under[key[0]], self._key_of[block]

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        n, size = len(tokens), self._size
        if not n:
            raise ValueError("empty prompt")
        values = [0]
        chunks = [tuple(tokens[a : a + size]) for a in range(0, n, size)]
        for chunk in chunks[: n // size]:
            values.append(self._hash(values[-1], chunk))
        hits: list[int] = []
        serial = 0
        for chunk, value in zip(chunks[: (n - 1) // size], values[1:]):
            if (value, chunk, serial) not in self._found:
                break
            block, serial = self._found[value, chunk, serial]
            hits.append(block)
        for block in hits:
            self._queue.pop(block, None)
            self._count[block] += 1
        if len(chunks) - len(hits) > len(self._queue):
            raise RuntimeError("too few blocks")
        blocks = [*hits]
        for i in range(len(hits), len(chunks)):
            block = next(iter(self._queue))
            del self._queue[block]
            self._count[block] = 1
            blocks.append(block)
            self._end(self._key_of.get(block))
            if len(chunks[i]) < size:
                break
            key = (values[i + 1], chunks[i], serial)
            if key not in self._found:
                self._end(self._under.get(key[0]))
                self._serial += 1
                self._found[key] = (block, self._serial)
                self._under[key[0]] = self._key_of[block] = key
            serial = self._found[key][1]
        return blocks, len(hits) * size

    def release(self, blocks: list[int]) -> None:
        for block, times in Counter(blocks).items():
            if self._count.get(block, 0) < times:
                raise ValueError("a block is named more often than it has holders")
        for block in blocks[::-1]:
            self._count[block] -= 1
            if not self._count[block]:
                self._queue[block] = None
