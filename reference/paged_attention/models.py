"""What is right about blocks and requests: plain lists, searched from end to end.

Takes: the calls that a submission gets. Gives: what they return, or the exception that they raise.
Does not cover: keys and values in the blocks (see `oracle`), speed. For bookkeeping the oracle is a
solution; these are written for sight, the reference for speed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

EOS = 1
"""Token id that ends a request."""


class AllocatorModel:
    """Holders per block, and the queue of free blocks."""

    def __init__(self, n_blocks: int) -> None:
        self.holders = [0] * n_blocks
        self.queue = list(range(n_blocks))

    @property
    def n_free(self) -> int:
        return len(self.queue)

    @property
    def held(self) -> list[int]:
        return [block for block, count in enumerate(self.holders) if count]

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError(count)
        if count > len(self.queue):
            raise RuntimeError(count)
        taken, self.queue = self.queue[:count], self.queue[count:]
        for block in taken:
            self.holders[block] = 1
        return taken

    def share(self, block: int) -> None:
        if block not in self.held:
            raise ValueError(block)
        self.holders[block] += 1

    def release(self, blocks: list[int]) -> None:
        for block in blocks:
            if block not in self.held or blocks.count(block) > self.holders[block]:
                raise ValueError(block)
        for block in blocks:
            self.holders[block] -= 1
            if self.holders[block] == 0:
                self.queue.append(block)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """What lies in a block; two entries are the same only if they are one."""

    block: int
    hash: int
    tokens: tuple[int, ...]
    behind: tuple["Entry", ...]


class PrefixModel:
    """All entries in one list, oldest first."""

    def __init__(
        self, n_blocks: int, size: int, hash_fn: Callable[[int, tuple[int, ...]], int]
    ) -> None:
        self.blocks = AllocatorModel(n_blocks)
        self.size, self.hash_fn = size, hash_fn
        self.entries: list[Entry] = []

    @property
    def n_free(self) -> int:
        return self.blocks.n_free

    def _hashed(self, tokens: list[int]) -> list[tuple[int, tuple[int, ...]]]:
        full = len(tokens) // self.size
        chunks = [tuple(tokens[i * self.size : (i + 1) * self.size]) for i in range(full)]
        hashes: list[int] = []
        for chunk in chunks:
            hashes.append(self.hash_fn(hashes[-1] if hashes else 0, chunk))
        return list(zip(hashes, chunks, strict=True))

    def _hits(self, tokens: list[int]) -> list[Entry]:
        hits: list[Entry] = []
        for hash_, chunk in self._hashed(tokens)[: (len(tokens) - 1) // self.size]:
            found = [
                e for e in self.entries
                if e.hash == hash_ and e.tokens == chunk and e.behind == tuple(hits[-1:])
            ]  # fmt: skip
            if not found:
                break
            hits += found
        return hits

    def _missing(self, tokens: list[int]) -> int:
        return -(-len(tokens) // self.size) - len(self._hits(tokens))

    def idle_hits(self, tokens: list[int]) -> int:
        return sum(self.blocks.holders[e.block] == 0 for e in self._hits(tokens))

    def fits(self, tokens: list[int]) -> bool:
        return self._missing(tokens) <= self.n_free - self.idle_hits(tokens)

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        if not tokens:
            raise ValueError(tokens)
        if not self.fits(tokens):
            raise RuntimeError(tokens)
        hits = self._hits(tokens)
        missing = self._missing(tokens)
        for entry in hits:
            if entry.block in self.blocks.queue:
                self.blocks.queue.remove(entry.block)
            self.blocks.holders[entry.block] += 1
        chain = list(hits)
        table = [entry.block for entry in hits]
        hashed = self._hashed(tokens)
        for block in self.blocks.allocate(missing):
            self.entries = [e for e in self.entries if e.block != block]
            if len(table) < len(hashed):
                self._enter(block, hashed[len(table)], chain)
            table.append(block)
        return table, len(hits) * self.size

    def _enter(self, block: int, hashed: tuple[int, tuple[int, ...]], chain: list[Entry]) -> None:
        """Enter a block behind the last of `chain`, unless its content is entered already."""
        hash_, chunk = hashed
        behind = tuple(chain[-1:])
        known = [e for e in self.entries if e.hash == hash_]
        if not (known and known[0].tokens == chunk and known[0].behind == behind):
            self.entries = [e for e in self.entries if e.hash != hash_]
            known = [Entry(block=block, hash=hash_, tokens=chunk, behind=behind)]
            self.entries += known
        chain += known

    def release(self, blocks: list[int]) -> None:
        self.blocks.release(blocks[::-1])


class ForkModel:
    """Sequences as lists of token numbers, and the blocks that they hold."""

    def __init__(self, n_blocks: int, size: int) -> None:
        self.blocks = AllocatorModel(n_blocks)
        self.size = size
        self.sequences: dict[int, list[int]] = {}
        self.tables: dict[int, list[int]] = {}
        self.created = 0

    @property
    def n_free(self) -> int:
        return self.blocks.n_free

    def create(self) -> int:
        return self._begin([], [])

    def _begin(self, tokens: list[int], table: list[int]) -> int:
        number, self.created = self.created, self.created + 1
        self.sequences[number], self.tables[number] = tokens, table
        return number

    def fork(self, sequence: int) -> int:
        for block in self.tables[sequence]:
            self.blocks.share(block)
        return self._begin(list(self.sequences[sequence]), list(self.tables[sequence]))

    def _copied(self, sequence: int, count: int) -> bool:
        """Return whether an append of so many tokens copies the last block."""
        ragged = count > 0 and len(self.sequences[sequence]) % self.size > 0
        return ragged and self.blocks.holders[self.tables[sequence][-1]] > 1

    def _needed(self, sequence: int, count: int) -> int:
        """Return how many blocks an append of so many tokens takes."""
        stored = len(self.sequences[sequence])
        needed = -(-(stored + count) // self.size) - len(self.tables[sequence])
        return needed + self._copied(sequence, count)

    def fits(self, sequence: int, count: int) -> bool:
        return self._needed(sequence, count) <= self.n_free

    def append(self, sequence: int, tokens: list[int]) -> None:
        table, stored = self.tables[sequence], self.sequences[sequence]
        copied = self._copied(sequence, len(tokens))
        fresh = self.blocks.allocate(self._needed(sequence, len(tokens)))
        if copied:
            self.blocks.release([table.pop()])
        table += fresh
        stored += tokens

    def release(self, sequence: int) -> None:
        self.blocks.release(self.tables.pop(sequence))
        del self.sequences[sequence]


@dataclass(slots=True)
class Request:
    """One request of the scheduler's model."""

    number: int
    tokens: list[int]
    last: int
    blocks: int = 0


@dataclass(slots=True)
class SchedulerModel:
    """The published policy, sentence by sentence."""

    n_blocks: int
    size: int
    max_running: int
    eos: int = EOS
    running: list[Request] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)
    known: dict[int, Request] = field(default_factory=dict)

    @property
    def n_free(self) -> int:
        return self.n_blocks - sum(one.blocks for one in self.running)

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.size)

    def add(self, number: int, prompt: list[int], max_new_tokens: int) -> None:
        one = Request(number, list(prompt), len(prompt) + max_new_tokens)
        if self.blocks_for(one.last - 1) > self.n_blocks:
            raise ValueError(number)
        self.known[number] = one
        self.waiting.append(one)

    def step(self) -> dict[str, list[int]]:
        preempted: list[int] = []
        for one in list(self.running):
            while (
                one in self.running and self.n_free < self.blocks_for(len(one.tokens)) - one.blocks
            ):
                newest = self.running.pop()
                newest.blocks = 0
                self.waiting.insert(0, newest)
                preempted.append(newest.number)
            if one in self.running:
                one.blocks = self.blocks_for(len(one.tokens))
        decoded = [one.number for one in self.running]
        admitted: list[int] = []
        while not preempted and self.waiting and len(self.running) < self.max_running:
            if self.blocks_for(len(self.waiting[0].tokens)) > self.n_free:
                break
            one = self.waiting.pop(0)
            one.blocks = self.blocks_for(len(one.tokens))
            self.running.append(one)
            admitted.append(one.number)
        return {"admitted": admitted, "decoded": decoded, "preempted": preempted}

    def commit(self, pairs: list[list[int]]) -> list[int]:
        for number, token in pairs:
            self.known[number].tokens.append(token)
        ended = [o for o in self.running if o.tokens[-1] == self.eos or len(o.tokens) == o.last]
        self.running = [one for one in self.running if one not in ended]
        for one in ended:
            one.blocks = 0
        return [one.number for one in ended]


def next_token(tokens: list[int], *, ending: bool = False) -> int:
    """Return the token that a model would choose; what came before, in its order, decides it.

    Args:
        tokens: of the request.
        ending: whether it may be `EOS`, about every fourth time.
    """
    value = 0
    for token in tokens:
        value = (value * 31 + token + 7) % 997
    return EOS if ending and value % 4 == 0 else 2 + value % 7
