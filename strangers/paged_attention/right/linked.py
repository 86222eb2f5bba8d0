"""Paged attention with preallocated arrays: linked lists of blocks, buffers of a fixed tile."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from harness import PagePool

Tensor = torch.Tensor
TILE = 64  # tokens that are gathered at a time


class _Links:
    """A queue of numbers 0 … n - 1 as two arrays; taking out of the middle costs nothing.

    Number n is the sentinel: behind the last and before the first one.
    """

    def __init__(self, n: int) -> None:
        self.end = n
        self.size = n
        self.after = [(i + 1) % (n + 1) for i in range(n + 1)]
        self.before = [(i - 1) % (n + 1) for i in range(n + 1)]

    def first(self) -> int:
        return self.after[self.end]

    def take(self, i: int) -> None:
        a, b = self.before[i], self.after[i]
        self.after[a], self.before[b] = b, a
        self.size -= 1

    def put(self, i: int) -> None:
        last = self.before[self.end]
        self.after[last] = self.before[self.end] = i
        self.before[i], self.after[i] = last, self.end
        self.size += 1


def _held_often_enough(blocks: list[int], holders: list[int]) -> None:
    ordered = sorted(blocks)
    run = 0
    for i, block in enumerate(ordered):
        if block < 0 or block >= len(holders):
            raise ValueError(f"no block {block}")
        run = run + 1 if i and ordered[i - 1] == block else 1
        if run > holders[block]:
            raise ValueError(f"block {block} is named too often")


class BlockAllocator:
    def __init__(self, n_blocks: int) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        self._links = _Links(n_blocks)
        self._holders = [0] * n_blocks

    @property
    def n_free(self) -> int:
        return self._links.size

    def count(self, block: int) -> int:
        if block < 0 or block >= len(self._holders):
            raise ValueError(f"no block {block}")
        return self._holders[block]

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError("count is negative")
        if count > self._links.size:
            raise RuntimeError("too few free blocks")
        taken = [0] * count
        for i in range(count):
            taken[i] = self._links.first()
            self._links.take(taken[i])
            self._holders[taken[i]] = 1
        return taken

    def share(self, block: int) -> None:
        if block < 0 or block >= len(self._holders) or self._holders[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self._holders[block] += 1

    def release(self, blocks: list[int]) -> None:
        _held_often_enough(blocks, self._holders)
        for block in blocks:
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._links.put(block)


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    k_PNHD, v_PNHD = pool.k_PNHD, pool.v_PNHD
    n_pages, n, h, d = k_PNHD.shape
    if k_THD.dim() != 3 or v_THD.dim() != 3 or slots_T.dim() != 1:
        raise ValueError("wrong rank")
    t = k_THD.shape[0]
    if k_THD.shape != (t, h, d) or v_THD.shape != (t, h, d) or slots_T.shape != (t,):
        raise ValueError("wrong size")
    if slots_T.dtype != torch.int64 or not k_THD.dtype == v_THD.dtype == k_PNHD.dtype:
        raise ValueError("wrong dtype")
    slots = slots_T.tolist()
    order = sorted(range(t), key=slots.__getitem__)
    for a, b in zip(order, order[1:]):
        if slots[a] == slots[b] != -1:
            raise ValueError("two tokens have the same slot")
    if t and (slots[order[0]] < -1 or slots[order[-1]] >= n_pages * n):
        raise ValueError("no such slot")
    # Runs of tokens that lie one behind the other in one page are written at once.
    i = 0
    while i < t:
        if slots[i] == -1:
            i += 1
            continue
        page, row = divmod(slots[i], n)
        run = 1
        while i + run < t and row + run < n and slots[i + run] == slots[i] + run:
            run += 1
        k_PNHD[page].narrow(0, row, run).copy_(k_THD.narrow(0, i, run))
        v_PNHD[page].narrow(0, row, run).copy_(v_THD.narrow(0, i, run))
        i += run


def _refuse_unless(ok: bool) -> None:
    if not ok:
        raise ValueError("the arguments do not fit together")


def _checked(q: Tensor, k: Tensor, v: Tensor, table: Tensor, lengths: Tensor) -> list[list[int]]:
    """Return the pages in use of each sequence."""
    _refuse_unless(q.dim() == 3 and k.dim() == 4 and table.dim() == 2 and lengths.dim() == 1)
    _refuse_unless(q.dtype == torch.float32 or q.dtype == torch.float16)
    _refuse_unless(q.dtype == k.dtype and q.dtype == v.dtype)
    _refuse_unless(table.dtype == torch.int64 and lengths.dtype == torch.int64)
    _refuse_unless(k.shape == v.shape and k.shape[1] > 0 and k.shape[2] > 0)
    _refuse_unless(q.shape[2] == k.shape[3] and q.shape[1] % k.shape[2] == 0)
    _refuse_unless(table.shape[0] == lengths.shape[0])
    n_pages, n = k.shape[:2]
    used = []
    for b, length in enumerate(lengths.tolist()):
        _refuse_unless(0 <= length <= table.shape[1] * n)
        used.append(table[b, : (length - 1) // n + 1].tolist() if length else [])
        _refuse_unless(not used[-1] or (min(used[-1]) >= 0 and max(used[-1]) < n_pages))
    return used


class _Reader:
    """Fills buffers of TILE tokens; the same ones for every sequence."""

    def __init__(self, k: Tensor, v: Tensor) -> None:
        _, self._n, h, d = k.shape
        self._k, self._v = k, v
        self._kbuf = torch.zeros(TILE, h, d, dtype=torch.float32, device=k.device)
        self._vbuf = torch.zeros(TILE, h, d, dtype=torch.float32, device=k.device)

    def tiles(self, pages: list[int], first: int, last: int):
        """Yield first token, keys and values [H, S, D] of each tile; valid until the next one."""
        for start in range(first, last, TILE):
            stop = min(start + TILE, last)
            t = start
            while t < stop:
                row = t % self._n
                count = min(self._n - row, stop - t)
                at = t - start
                self._kbuf[at : at + count] = self._k[pages[t // self._n], row : row + count]
                self._vbuf[at : at + count] = self._v[pages[t // self._n], row : row + count]
                t += count
            size = stop - start
            yield start, self._kbuf[:size].transpose(0, 1), self._vbuf[:size].transpose(0, 1)


def _one_query(
    reader: _Reader, q_HqD: Tensor, h: int, pages: list[int], first: int, last: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Two passes: all scores into one array, then values weighted; returns o [Hq, D] and lse [Hq]."""
    hq, d = q_HqD.shape
    q = q_HqD.float().reshape(h, hq // h, d)
    scores = torch.empty(h, hq // h, last - first, device=q.device)
    for start, k_HSD, _ in reader.tiles(pages, first, last):
        size = k_HSD.shape[1]
        scores[:, :, start - first : start - first + size] = torch.bmm(q, k_HSD.transpose(1, 2))
    scores *= scale
    lse = torch.logsumexp(scores, dim=2)
    weights = torch.exp(scores - lse[:, :, None])
    o = torch.zeros(h, hq // h, d, device=q.device)
    for start, _, v_HSD in reader.tiles(pages, first, last):
        size = v_HSD.shape[1]
        o.baddbmm_(weights[:, :, start - first : start - first + size], v_HSD)
    return o.reshape(hq, d), lse.reshape(hq)


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    pages = _checked(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    _refuse_unless(len(pages) == q_BHqD.shape[0])
    if scale is None:
        scale = 1 / math.sqrt(q_BHqD.shape[2])
    reader = _Reader(k_PNHD, v_PNHD)
    out = torch.empty(q_BHqD.shape, dtype=q_BHqD.dtype, device=q_BHqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        if length == 0:
            out[b] = 0
            continue
        o, _ = _one_query(reader, q_BHqD[b], k_PNHD.shape[2], pages[b], 0, length, scale)
        out[b] = o
    return out


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    _refuse_unless(o_CBHqD.dim() == 4 and lse_CBHq.dim() == 3)
    _refuse_unless(o_CBHqD.shape[:3] == lse_CBHq.shape and lse_CBHq.shape[0] >= 1)
    _refuse_unless(o_CBHqD.dtype == torch.float32 and lse_CBHq.dtype == torch.float32)
    c, b, hq, d = o_CBHqD.shape
    top = lse_CBHq.max(dim=0).values
    top = torch.where(top == -math.inf, 0.0, top)
    total = torch.zeros(b, hq, device=top.device)
    o = torch.zeros(b, hq, d, device=top.device)
    for i in range(c):
        weight = torch.exp(lse_CBHq[i] - top)
        total += weight
        here = lse_CBHq[i] > -math.inf
        o[here] += weight[here][:, None] * o_CBHqD[i][here]
    some = total > 0
    o[some] /= total[some][:, None]
    lse = torch.full((b, hq), -math.inf, device=top.device)
    lse[some] = torch.log(total[some]) + top[some]
    return o, lse


def split_kv_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    n_splits: int,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    _refuse_unless(n_splits >= 1)
    pages = _checked(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    b, hq, d = q_BHqD.shape
    _refuse_unless(len(pages) == b)
    if scale is None:
        scale = 1 / math.sqrt(d)
    reader = _Reader(k_PNHD, v_PNHD)
    lengths = lengths_B.tolist()
    c = max(1, min(n_splits, max(lengths, default=0)))  # the others would all be empty
    o_CBHqD = torch.zeros(c, b, hq, d, device=q_BHqD.device)
    lse_CBHq = torch.full((c, b, hq), -math.inf, device=q_BHqD.device)
    for i, length in enumerate(lengths):
        size = max(1, -(-length // n_splits))
        for part, first in enumerate(range(0, length, size)):
            last = min(length, first + size)
            o_CBHqD[part, i], lse_CBHq[part, i] = _one_query(
                reader, q_BHqD[i], k_PNHD.shape[2], pages[i], first, last, scale
            )
    o, lse = merge_splits(o_CBHqD, lse_CBHq)
    return o.to(q_BHqD.dtype), lse


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


class ForkingCache:
    """Fixed pool; a sequence is a chain of nodes (block, node before), shared by its forks.

    Nodes behind which a fork happened are never changed, only left.
    """

    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        n_kv_heads: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        if n_blocks < 1 or block_size < 1 or n_kv_heads < 1 or head_dim < 1:
            raise ValueError("sizes must be at least 1")
        self._n = block_size
        shape = (n_blocks, block_size, n_kv_heads, head_dim)
        self._k = torch.zeros(shape, dtype=dtype, device=device)
        self._v = torch.zeros(shape, dtype=dtype, device=device)
        self._links = _Links(n_blocks)
        self._before = [-1] * n_blocks  # block before this one, which is fixed: chains only part
        self._children = [0] * n_blocks  # blocks and sequences that end or go on behind it
        self._last: dict[int, int] = {}
        self._length: dict[int, int] = {}
        self._next = 0

    @property
    def n_free(self) -> int:
        return self._links.size

    def _known(self, sequence: int) -> None:
        if sequence not in self._last:
            raise ValueError(f"no sequence {sequence}")

    def _begin(self, last: int, length: int) -> int:
        number = self._next
        self._next += 1
        self._last[number], self._length[number] = last, length
        if last >= 0:
            self._children[last] += 1
        return number

    def create(self) -> int:
        return self._begin(-1, 0)

    def fork(self, sequence: int) -> int:
        self._known(sequence)
        return self._begin(self._last[sequence], self._length[sequence])

    def _leave(self, block: int) -> None:
        while block >= 0:
            self._children[block] -= 1
            if self._children[block]:
                return
            self._links.put(block)
            block = self._before[block]

    def _grow(self, sequence: int, before: int) -> int:
        """Put a new block behind `before`; the sequence's holder of `before` becomes the block."""
        block = self._links.first()
        self._links.take(block)
        self._before[block], self._children[block] = before, 1
        self._last[sequence] = block
        return block

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        self._known(sequence)
        for x in (k_THD, v_THD):
            if x.dim() != 3 or x.dtype != self._k.dtype or x.shape[1:] != self._k.shape[2:]:
                raise ValueError("tokens must be [T, H, D] with the dtype of the cache")
        t = k_THD.shape[0]
        if v_THD.shape[0] != t:
            raise ValueError("as many values as keys")
        length, last = self._length[sequence], self._last[sequence]
        row = length % self._n
        copy = t > 0 and row > 0 and self._children[last] > 1
        fresh = (length + t + self._n - 1) // self._n - (length + self._n - 1) // self._n
        if fresh + copy > self._links.size:
            raise RuntimeError("too few free blocks")
        if copy:
            before = self._before[last]
            if before >= 0:
                self._children[before] += 1
            new = self._grow(sequence, before)
            self._k[new, :row] = self._k[last, :row]
            self._v[new, :row] = self._v[last, :row]
            self._leave(last)
        done = 0
        while done < t:
            if row == 0:
                self._grow(sequence, self._last[sequence])
            count = min(self._n - row, t - done)
            block = self._last[sequence]
            self._k[block, row : row + count] = k_THD[done : done + count]
            self._v[block, row : row + count] = v_THD[done : done + count]
            done += count
            row = 0 if row + count == self._n else row + count
        self._length[sequence] += t

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        self._known(sequence)
        length = self._length[sequence]
        k = torch.empty((length, *self._k.shape[2:]), dtype=self._k.dtype, device=self._k.device)
        v = torch.empty_like(k)
        block, last = self._last[sequence], length
        while block >= 0:
            first = (last - 1) // self._n * self._n
            k[first:last] = self._k[block, : last - first]
            v[first:last] = self._v[block, : last - first]
            block, last = self._before[block], first
        return k, v

    def release(self, sequence: int) -> None:
        self._known(sequence)
        self._leave(self._last.pop(sequence))
        del self._length[sequence]


def paged_prefill(
    q_THqD: Tensor,
    starts_B1: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    pages = _checked(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    _refuse_unless(starts_B1.dim() == 1 and starts_B1.dtype == torch.int64)
    _refuse_unless(starts_B1.shape[0] == len(pages) + 1)
    t, hq, d = q_THqD.shape
    starts = [int(x) for x in starts_B1]
    _refuse_unless(starts[0] == 0 and starts[-1] == t)
    _refuse_unless(all(starts[i] <= starts[i + 1] for i in range(len(pages))))
    h = k_PNHD.shape[2]
    group = hq // h
    if scale is None:
        scale = 1 / math.sqrt(d)
    reader = _Reader(k_PNHD, v_PNHD)
    out = torch.zeros(t, hq, d, dtype=q_THqD.dtype, device=q_THqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        stand = length - (starts[b + 1] - starts[b])  # where the first query stands
        # Queries a tile at a time, too: one of them sees tokens up to its last query.
        for at in range(starts[b], starts[b + 1], TILE):
            n = min(TILE, starts[b + 1] - at)
            position = stand + at - starts[b]
            sees = position + n
            if sees <= 0:
                continue
            q = q_THqD[at : at + n].float().mul(scale).reshape(n, h, group, d)
            q_HMD = q.permute(1, 0, 2, 3).reshape(h, n * group, d)
            rows = torch.arange(position, sees, device=q.device).repeat_interleave(group)
            scores = torch.full((h, n * group, sees), -math.inf, device=q.device)
            for start, k_HSD, _ in reader.tiles(pages[b], 0, sees):
                stop = start + k_HSD.shape[1]
                scores[:, :, start:stop] = torch.bmm(q_HMD, k_HSD.transpose(1, 2))
            columns = torch.arange(sees, device=q.device)
            scores.masked_fill_(columns > rows[:, None], -math.inf)
            weights = torch.softmax(scores, dim=2)
            weights[:, rows < 0] = 0.0
            o = torch.zeros(h, n * group, d, device=q.device)
            for start, _, v_HSD in reader.tiles(pages[b], 0, sees):
                o.baddbmm_(weights[:, :, start : start + v_HSD.shape[1]], v_HSD)
            out[at : at + n] = o.reshape(h, n, group, d).transpose(0, 1).reshape(n, hq, d)
    return out


class Scheduler:
    """The running requests are a stack: the newest is on top."""

    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if n_blocks < 1 or block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks, self._free, self._n = n_blocks, n_blocks, block_size
        self._max, self._eos = max_running, eos_id
        self._index: dict[int, int] = {}
        self._number: list[int] = []
        self._tokens: list[list[int]] = []
        self._prompt: list[int] = []
        self._most: list[int] = []
        self._held: list[int] = []
        self._stack: list[int] = []
        self._waiting: list[int] = []  # the front of the queue is its end
        self._arrived: list[int] = []  # added, not yet in `_waiting`: behind all of it
        self._expects: set[int] | None = None

    @property
    def n_free(self) -> int:
        return self._free

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._index:
            raise ValueError("the number was used before")
        if len(prompt) < 1 or max_new_tokens < 1:
            raise ValueError("empty prompt, or no token to generate")
        if (len(prompt) + max_new_tokens - 2) // self._n + 1 > self._n_blocks:
            raise ValueError("it could not run alone to its end")
        self._index[request] = len(self._number)
        self._arrived.append(len(self._number))
        self._number.append(request)
        self._tokens.append([*prompt])
        self._prompt.append(len(prompt))
        self._most.append(max_new_tokens)
        self._held.append(0)

    def _front(self) -> int:
        """Return the first of the queue, or -1."""
        if not self._waiting:
            self._waiting, self._arrived = self._arrived[::-1], []
        return self._waiting[-1] if self._waiting else -1

    def _preempt(self) -> int:
        i = self._stack.pop()
        self._free += self._held[i]
        self._held[i] = 0
        self._waiting.append(i)
        return self._number[i]

    def step(self) -> dict[str, list[int]]:
        if self._expects:
            raise RuntimeError("commit the last step first")
        plan: dict[str, list[int]] = {"admitted": [], "decoded": [], "preempted": []}
        at = 0
        while at < len(self._stack):
            i = self._stack[at]
            if self._held[i] * self._n < len(self._tokens[i]):
                while self._free == 0 and at < len(self._stack):
                    plan["preempted"].append(self._preempt())
                if at == len(self._stack):
                    break
                self._held[i] += 1
                self._free -= 1
            at += 1
        plan["decoded"] = [self._number[i] for i in self._stack]
        if not plan["preempted"]:
            while len(self._stack) < self._max:
                i = self._front()
                if i < 0:
                    break
                need = (len(self._tokens[i]) - 1) // self._n + 1
                if need > self._free:
                    break
                self._waiting.pop()
                self._held[i] = need
                self._free -= need
                self._stack.append(i)
                plan["admitted"].append(self._number[i])
        self._expects = {self._number[i] for i in self._stack}
        return plan

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if self._expects is None:
            raise ValueError("committed before, or no step yet")
        given = dict(tokens)
        if len(given) != len(tokens) or set(given) != self._expects:
            raise ValueError("not exactly the requests of the last step")
        self._expects = None
        stay, ended = [], []
        for i in self._stack:
            token = given[self._number[i]]
            self._tokens[i].append(token)
            n_new = len(self._tokens[i]) - self._prompt[i]
            if token == self._eos or n_new == self._most[i]:
                self._free += self._held[i]
                self._held[i] = 0
                ended.append(self._number[i])
            else:
                stay.append(i)
        self._stack = stay
        return ended

    def tokens(self, request: int) -> list[int]:
        if request not in self._index:
            raise ValueError("no such request")
        return self._tokens[self._index[request]].copy()
