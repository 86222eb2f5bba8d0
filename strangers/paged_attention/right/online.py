"""Paged attention, streaming: online softmax page by page, lazily validated generators of pages."""

import collections
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from harness import PagePool

Tensor = torch.Tensor
NEG = float("-inf")


def _need(ok: bool, what: str) -> None:
    if not ok:
        raise ValueError(what)


class BlockAllocator:
    """A ring buffer of free blocks: `head` is where the next one is taken from."""

    def __init__(self, n_blocks: int) -> None:
        _need(n_blocks >= 1, "n_blocks must be at least 1")
        self._ring = list(range(n_blocks))
        self._head = 0
        self._free = n_blocks
        self._holders = [0] * n_blocks

    @property
    def n_free(self) -> int:
        return self._free

    def count(self, block: int) -> int:
        _need(0 <= block < len(self._holders), f"no block {block}")
        return self._holders[block]

    def allocate(self, count: int) -> list[int]:
        _need(count >= 0, "count is negative")
        if count > self._free:
            raise RuntimeError(f"{count} blocks wanted, {self._free} free")
        size = len(self._ring)
        taken = [self._ring[(self._head + i) % size] for i in range(count)]
        self._head = (self._head + count) % size
        self._free -= count
        for block in taken:
            self._holders[block] = 1
        return taken

    def share(self, block: int) -> None:
        _need(self.count(block) > 0, f"block {block} is free")
        self._holders[block] += 1

    def release(self, blocks: list[int]) -> None:
        left: dict[int, int] = {}
        for block in blocks:
            left[block] = left.get(block, self.count(block)) - 1
            _need(left[block] >= 0, f"block {block} named too often")
        for block in blocks:
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._ring[(self._head + self._free) % len(self._ring)] = block
                self._free += 1


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    p, n, h, d = pool.k_PNHD.shape
    for x in (k_THD, v_THD):
        _need(x.dim() == 3 and tuple(x.shape[1:]) == (h, d), "tokens must be [T, H, D]")
        _need(x.dtype == pool.k_PNHD.dtype, "tokens must have the dtype of the pool")
    _need(k_THD.shape[0] == v_THD.shape[0], "as many values as keys")
    _need(slots_T.dim() == 1 and slots_T.shape[0] == k_THD.shape[0], "one slot per token")
    _need(slots_T.dtype == torch.int64, "slots must be int64")
    order = torch.argsort(slots_T)
    sorted_slots = slots_T[order]
    first = int((sorted_slots < 0).sum())
    if len(order):
        _need(int(sorted_slots[0]) >= -1 and int(sorted_slots[-1]) < p * n, "no such slot")
    order, sorted_slots = order[first:], sorted_slots[first:]
    _need(not bool((sorted_slots[1:] == sorted_slots[:-1]).any()), "a slot is named twice")
    # Page by page: the rows of one page are written together.
    pages, counts = torch.unique_consecutive(sorted_slots // n, return_counts=True)
    keys, values = pool.k_PNHD, pool.v_PNHD
    at = 0
    for page, count in zip(pages.tolist(), counts.tolist()):
        rows, tokens = sorted_slots[at : at + count] % n, order[at : at + count]
        keys[page].index_copy_(0, rows, k_THD[tokens])
        values[page].index_copy_(0, rows, v_THD[tokens])
        at += count


def _check_pages(q: Tensor, k: Tensor, v: Tensor, table: Tensor, lengths: Tensor) -> None:
    _need(q.dim() == 3 and k.dim() == 4 and v.dim() == 4, "q has rank 3, k and v rank 4")
    _need(table.dim() == 2 and lengths.dim() == 1, "table has rank 2, lengths rank 1")
    _need(q.dtype in (torch.float32, torch.float16), "q must be float32 or float16")
    _need(k.dtype == q.dtype and v.dtype == q.dtype, "k and v must have the dtype of q")
    _need(table.dtype == torch.int64 and lengths.dtype == torch.int64, "int64 wanted")
    _need(v.shape == k.shape and k.shape[3] == q.shape[2], "sizes do not fit")
    p, n, h, _ = k.shape
    _need(n > 0 and h > 0 and q.shape[1] % h == 0, "Hq is no multiple of H")
    _need(table.shape[0] == lengths.shape[0], "a row of the table per sequence")
    for row, length in zip(table.tolist(), lengths.tolist()):
        _need(0 <= length <= len(row) * n, "a length does not fit")
        used = row[: (length + n - 1) // n]
        _need(all(0 <= page < p for page in used), "a page in use does not exist")


def _stretches(row: list[int], n: int, first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Yield page, first row and row behind the last one for tokens first … last - 1."""
    for i in range(first // n, (last + n - 1) // n):
        yield row[i], max(first - i * n, 0), min(last - i * n, n)


class _Online:
    """Softmax of what has been seen so far, for the heads of one query."""

    def __init__(self, q_HqD: Tensor, n_heads: int, scale: float) -> None:
        hq, d = q_HqD.shape
        self._q_HGD = q_HqD.reshape(n_heads, hq // n_heads, d).float() * scale
        self.max_HG = self._q_HGD.new_full(self._q_HGD.shape[:2], NEG)
        self.sum_HG = self._q_HGD.new_zeros(self._q_HGD.shape[:2])
        self.o_HGD = torch.zeros_like(self._q_HGD)

    def add(self, k_NHD: Tensor, v_NHD: Tensor) -> None:
        s_HGN = self._q_HGD @ k_NHD.float().permute(1, 2, 0)
        new_HG = torch.maximum(self.max_HG, s_HGN.amax(2))
        w_HGN = torch.exp(s_HGN - new_HG[..., None])
        old_HG = torch.exp(self.max_HG - new_HG)
        self.sum_HG = self.sum_HG * old_HG + w_HGN.sum(2)
        self.o_HGD = self.o_HGD * old_HG[..., None] + w_HGN @ v_NHD.float().transpose(0, 1)
        self.max_HG = new_HG

    def output(self) -> Tensor:
        safe = torch.where(self.sum_HG > 0, self.sum_HG, torch.ones_like(self.sum_HG))
        return (self.o_HGD / safe[..., None]).flatten(0, 1)

    def lse(self) -> Tensor:
        return (self.max_HG + torch.log(self.sum_HG)).flatten()


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _check_pages(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    _need(q_BHqD.shape[0] == table_BL.shape[0], "one query per sequence")
    if scale is None:
        scale = 1 / math.sqrt(q_BHqD.shape[2])
    n, h = k_PNHD.shape[1:3]
    out = torch.empty(q_BHqD.shape, dtype=q_BHqD.dtype, device=q_BHqD.device)
    for b, (row, length) in enumerate(zip(table_BL.tolist(), lengths_B.tolist())):
        state = _Online(q_BHqD[b], h, scale)
        for page, first, last in _stretches(row, n, 0, length):
            state.add(k_PNHD[page, first:last], v_PNHD[page, first:last])
        out[b] = state.output().to(out.dtype)
    return out


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    _need(o_CBHqD.dim() == 4 and lse_CBHq.dim() == 3, "o has rank 4, lse rank 3")
    _need(o_CBHqD.shape[:3] == lse_CBHq.shape and lse_CBHq.shape[0] > 0, "sizes do not fit")
    _need(o_CBHqD.dtype == torch.float32 == lse_CBHq.dtype, "float32 wanted")
    # Pour one part after the other into a running average.
    o, lse = torch.zeros_like(o_CBHqD[0]), torch.full_like(lse_CBHq[0], NEG)
    for o_part, lse_part in zip(o_CBHqD.unbind(), lse_CBHq.unbind()):
        both = torch.logaddexp(lse, lse_part)
        share = torch.exp(lse_part - both)
        empty = lse_part == NEG
        share = torch.where(empty, torch.zeros_like(share), share)
        o_part = torch.where(empty[..., None], torch.zeros_like(o_part), o_part)
        keep = torch.where(lse == NEG, torch.zeros_like(share), torch.exp(lse - both))
        o = o * keep[..., None] + o_part * share[..., None]
        lse = both
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
    _need(n_splits >= 1, "n_splits must be at least 1")
    _check_pages(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    _need(q_BHqD.shape[0] == table_BL.shape[0], "one query per sequence")
    if scale is None:
        scale = 1 / math.sqrt(q_BHqD.shape[2])
    n, h = k_PNHD.shape[1:3]
    hq = q_BHqD.shape[1]
    o_BHqD = torch.zeros(q_BHqD.shape, dtype=torch.float32, device=q_BHqD.device)
    lse_BHq = torch.full(o_BHqD.shape[:2], NEG, device=q_BHqD.device)
    for b, (row, length) in enumerate(zip(table_BL.tolist(), lengths_B.tolist())):
        size = -(-length // n_splits)
        parts = []
        for first in range(0, length, size or 1):
            state = _Online(q_BHqD[b], h, scale)
            for page, start, stop in _stretches(row, n, first, min(first + size, length)):
                state.add(k_PNHD[page, start:stop], v_PNHD[page, start:stop])
            parts.append((state.output(), state.lse()))
        if parts:
            o = torch.stack([part[0] for part in parts])[:, None]
            lse = torch.stack([part[1] for part in parts])[:, None].reshape(len(parts), 1, hq)
            merged = merge_splits(o, lse)
            o_BHqD[b], lse_BHq[b] = merged[0][0], merged[1][0]
    return o_BHqD.to(q_BHqD.dtype), lse_BHq


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
        if entry is not None and entry[1] == chunk and entry[2] is behind:
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


class ForkingCache:
    """One tensor per block, made when it is taken and dropped when nobody holds it."""

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
        for size in (n_blocks, block_size, n_kv_heads, head_dim):
            _need(size >= 1, "sizes must be at least 1")
        self._shape = (2, block_size, n_kv_heads, head_dim)
        self._dtype, self._device = dtype, device
        self._n_blocks = n_blocks
        self._content: dict[int, Tensor] = {}
        self._holders: dict[int, int] = {}
        self._next_block = 0
        self._tables: list[list[int] | None] = []
        self._lengths: list[int] = []

    @property
    def n_free(self) -> int:
        return self._n_blocks - len(self._content)

    def _table(self, sequence: int) -> list[int]:
        _need(0 <= sequence < len(self._tables), f"no sequence {sequence}")
        table = self._tables[sequence]
        if table is None:
            raise ValueError(f"sequence {sequence} has ended")
        return table

    def _make(self) -> int:
        block = self._next_block
        self._next_block += 1
        self._content[block] = torch.empty(self._shape, dtype=self._dtype, device=self._device)
        self._holders[block] = 1
        return block

    def _drop(self, block: int) -> None:
        self._holders[block] -= 1
        if self._holders[block] == 0:
            del self._holders[block], self._content[block]

    def create(self) -> int:
        self._tables.append([])
        self._lengths.append(0)
        return len(self._tables) - 1

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        table = self._table(sequence)
        _, size, h, d = self._shape
        for x in (k_THD, v_THD):
            _need(x.dim() == 3 and tuple(x.shape[1:]) == (h, d), "tokens must be [T, H, D]")
            _need(x.dtype == self._dtype, "tokens must have the cache's dtype")
        _need(k_THD.shape == v_THD.shape, "as many keys as values")
        t, length = k_THD.shape[0], self._lengths[sequence]
        if t == 0:
            return
        row = length % size
        copies = 1 if row and self._holders[table[-1]] > 1 else 0
        if (length + t + size - 1) // size - len(table) + copies > self.n_free:
            raise RuntimeError("too few free blocks")
        if copies:
            fresh = self._make()
            self._content[fresh][:, :row] = self._content[table[-1]][:, :row]
            self._drop(table[-1])
            table[-1] = fresh
        done = 0
        while done < t:
            if row == 0:
                table.append(self._make())
            now = min(size - row, t - done)
            block = self._content[table[-1]]
            block[0, row : row + now] = k_THD[done : done + now]
            block[1, row : row + now] = v_THD[done : done + now]
            done += now
            row = (row + now) % size
        self._lengths[sequence] += t

    def fork(self, sequence: int) -> int:
        table = self._table(sequence)
        for block in table:
            self._holders[block] += 1
        self._tables.append(table.copy())
        self._lengths.append(self._lengths[sequence])
        return len(self._tables) - 1

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        table, length = self._table(sequence), self._lengths[sequence]
        if not table:
            empty = torch.empty((0, *self._shape[2:]), dtype=self._dtype, device=self._device)
            return empty, empty.clone()
        k = torch.cat([self._content[block][0] for block in table])[:length]
        v = torch.cat([self._content[block][1] for block in table])[:length]
        return k, v

    def release(self, sequence: int) -> None:
        for block in self._table(sequence):
            self._drop(block)
        self._tables[sequence] = None


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
    _check_pages(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    _need(starts_B1.dim() == 1 and starts_B1.dtype == torch.int64, "starts: int64, rank 1")
    starts = starts_B1.tolist()
    _need(len(starts) == lengths_B.shape[0] + 1, "starts must have B + 1 numbers")
    _need(starts[0] == 0 and starts[-1] == q_THqD.shape[0], "starts must go from 0 to T")
    _need(all(a <= b for a, b in zip(starts, starts[1:])), "starts must not fall")
    t, hq, d = q_THqD.shape
    if scale is None:
        scale = 1 / math.sqrt(d)
    n, h = k_PNHD.shape[1:3]
    out = torch.zeros(q_THqD.shape, dtype=q_THqD.dtype, device=q_THqD.device)
    for b, (row, length) in enumerate(zip(table_BL.tolist(), lengths_B.tolist())):
        n_new = starts[b + 1] - starts[b]
        if n_new == 0:
            continue
        q = q_THqD[starts[b] : starts[b + 1]].float() * scale
        q_HGTD = q.reshape(n_new, h, hq // h, d).permute(1, 2, 0, 3)
        stands_T = torch.arange(length - n_new, length, device=q.device)
        top = torch.full(q_HGTD.shape[:3], NEG, device=q.device)
        total = torch.zeros_like(top)
        acc = torch.zeros(q_HGTD.shape, device=q.device)
        for i, (page, first, last) in enumerate(_stretches(row, n, 0, length)):
            k_HND = k_PNHD[page, first:last].float().transpose(0, 1)
            v_HND = v_PNHD[page, first:last].float().transpose(0, 1)
            s = q_HGTD @ k_HND[:, None].transpose(2, 3)
            at_N = torch.arange(i * n + first, i * n + last, device=q.device)
            s = s.masked_fill(at_N[None, :] > stands_T[:, None], NEG)
            new = torch.maximum(top, s.amax(3))
            shift = torch.where(new == NEG, torch.zeros_like(new), new)
            w = torch.exp(s - shift[..., None])
            old = torch.exp(top - shift)
            total = total * old + w.sum(3)
            acc = acc * old[..., None] + w @ v_HND[:, None]
            top = new
        o = acc / torch.where(total > 0, total, torch.ones_like(total))[..., None]
        out[starts[b] : starts[b + 1]] = o.permute(2, 0, 1, 3).reshape(n_new, hq, d).to(out.dtype)
    return out


class Scheduler:
    """Requests carry an age; running and waiting ones are two sorted lists of ages."""

    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        for size in (n_blocks, block_size, max_running):
            _need(size >= 1, "sizes must be at least 1")
        self._total = n_blocks
        self._size = block_size
        self._most = max_running
        self._eos = eos_id
        self._ages: dict[int, int] = {}
        self._names: list[int] = []
        self._texts: list[list[int]] = []
        self._left: list[int] = []
        self._running: list[int] = []
        self._waiting: collections.deque[int] = collections.deque()
        self._holds: dict[int, int] = {}
        self._state = "idle"

    @property
    def n_free(self) -> int:
        return self._total - sum(self._holds.values())

    def _wants(self, age: int) -> int:
        return math.ceil(len(self._texts[age]) / self._size)

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        _need(request not in self._ages, "the number was used before")
        _need(len(prompt) >= 1, "the prompt is empty")
        _need(max_new_tokens >= 1, "max_new_tokens must be at least 1")
        longest = len(prompt) + max_new_tokens - 1
        _need(longest <= self._total * self._size, "the request can never run to its end")
        age = len(self._names)
        self._ages[request] = age
        self._names.append(request)
        self._texts.append(list(prompt))
        self._left.append(max_new_tokens)
        self._waiting.append(age)

    def step(self) -> dict[str, list[int]]:
        if self._state == "planned" and self._running:
            raise RuntimeError("the last step has not been committed")
        out: list[int] = []
        for age in sorted(self._running):
            if age not in self._holds or self._wants(age) <= self._holds[age]:
                continue
            while self.n_free == 0 and age in self._holds:
                newest = max(self._holds)
                del self._holds[newest]
                self._running.remove(newest)
                self._waiting.appendleft(newest)
                out.append(newest)
            if age in self._holds:
                self._holds[age] += 1
        old = sorted(self._running)
        new: list[int] = []
        if not out:
            while self._waiting and len(self._running) < self._most:
                wants = self._wants(self._waiting[0])
                if wants > self.n_free:
                    break
                age = self._waiting.popleft()
                self._holds[age] = wants
                self._running.append(age)
                new.append(age)
        self._state = "planned"
        names = self._names
        return {
            "admitted": [names[age] for age in new],
            "decoded": [names[age] for age in old],
            "preempted": [names[age] for age in out],
        }

    def commit(self, tokens: list[list[int]]) -> list[int]:
        _need(self._state == "planned", "nothing to commit")
        _need(all(len(pair) == 2 for pair in tokens), "pairs wanted")
        named = [self._ages.get(request, -1) for request, _ in tokens]
        _need(sorted(named) == sorted(self._running), "not the requests of the last step")
        self._state = "committed"
        ended = []
        for age, (_, token) in sorted(zip(named, tokens), key=lambda item: item[0]):
            self._texts[age].append(token)
            self._left[age] -= 1
            if token == self._eos or self._left[age] == 0:
                self._running.remove(age)
                del self._holds[age]
                ended.append(self._names[age])
        return ended

    def tokens(self, request: int) -> list[int]:
        _need(request in self._ages, f"no request {request}")
        return self._texts[self._ages[request]][:]
