"""Paged attention, plain loops: one token, one head, one block at a time."""

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from harness import PagePool

Tensor = torch.Tensor


class BlockAllocator:
    def __init__(self, n_blocks: int) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        self._count = [0] * n_blocks
        self._queue = deque(range(n_blocks))

    @property
    def n_free(self) -> int:
        return len(self._queue)

    def count(self, block: int) -> int:
        if block < 0 or block >= len(self._count):
            raise ValueError(f"no block {block}")
        return self._count[block]

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError("count is negative")
        if count > len(self._queue):
            raise RuntimeError("too few free blocks")
        taken = []
        for _ in range(count):
            block = self._queue.popleft()
            self._count[block] = 1
            taken.append(block)
        return taken

    def share(self, block: int) -> None:
        if self.count(block) == 0:
            raise ValueError(f"block {block} is free")
        self._count[block] += 1

    def release(self, blocks: list[int]) -> None:
        named: dict[int, int] = {}
        for block in blocks:
            named[block] = named.get(block, 0) + 1
        for block, times in named.items():
            if times > self.count(block):
                raise ValueError(f"block {block} has too few holders")
        for block in blocks:
            self._count[block] -= 1
            if self._count[block] == 0:
                self._queue.append(block)


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    keys, values = pool.k_PNHD, pool.v_PNHD
    n_pages, page_size, n_heads, dim = keys.shape
    if k_THD.dim() != 3 or v_THD.dim() != 3 or slots_T.dim() != 1:
        raise ValueError("wrong rank")
    if tuple(k_THD.shape[1:]) != (n_heads, dim) or v_THD.shape != k_THD.shape:
        raise ValueError("wrong size")
    if slots_T.shape[0] != k_THD.shape[0]:
        raise ValueError("one slot per token")
    if k_THD.dtype != keys.dtype or v_THD.dtype != keys.dtype or slots_T.dtype != torch.int64:
        raise ValueError("wrong dtype")
    slots = slots_T.tolist()
    seen = set()
    for slot in slots:
        if slot < -1 or slot >= n_pages * page_size:
            raise ValueError(f"slot {slot} does not exist")
        if slot >= 0:
            if slot in seen:
                raise ValueError(f"slot {slot} named twice")
            seen.add(slot)
    for token, slot in enumerate(slots):
        if slot == -1:
            continue
        page, row = divmod(slot, page_size)
        keys[page, row].copy_(k_THD[token])
        values[page, row].copy_(v_THD[token])


def _check(q: Tensor, k: Tensor, v: Tensor, table: Tensor, lengths: Tensor) -> None:
    if (q.dim(), k.dim(), v.dim(), table.dim(), lengths.dim()) != (3, 4, 4, 2, 1):
        raise ValueError("wrong rank")
    if q.dtype not in (torch.float32, torch.float16):
        raise ValueError("q must be float32 or float16")
    if k.dtype != q.dtype or v.dtype != q.dtype:
        raise ValueError("k and v must have the dtype of q")
    if table.dtype != torch.int64 or lengths.dtype != torch.int64:
        raise ValueError("table and lengths must be int64")
    if v.shape != k.shape or k.shape[3] != q.shape[2]:
        raise ValueError("sizes of q, k and v do not fit")
    n_pages, page_size, n_heads, _ = k.shape
    if page_size < 1 or n_heads < 1 or q.shape[1] % n_heads != 0:
        raise ValueError("Hq must be a multiple of H, N at least 1")
    if table.shape[0] != lengths.shape[0]:
        raise ValueError("one row of the table per sequence")
    for b, length in enumerate(lengths.tolist()):
        if length < 0 or length > table.shape[1] * page_size:
            raise ValueError(f"length {length} does not fit")
        for page in table[b, : -(-length // page_size)].tolist():
            if page < 0 or page >= n_pages:
                raise ValueError(f"page {page} does not exist")


def _rows(pages_PND: Tensor, pages: list[int], first: int, last: int) -> Tensor:
    """Return rows first … last - 1 of one head as float32, [S, D]."""
    n = pages_PND.shape[1]
    out = torch.empty(last - first, pages_PND.shape[2], dtype=torch.float32, device=pages_PND.device)
    t = first
    while t < last:
        stop = min(last, (t // n + 1) * n)
        out[t - first : stop - first] = pages_PND[pages[t // n], t % n : t % n + stop - t]
        t = stop
    return out


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _check(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if q_BHqD.shape[0] != lengths_B.shape[0]:
        raise ValueError("one query per sequence")
    if scale is None:
        scale = 1 / math.sqrt(q_BHqD.shape[2])
    n = k_PNHD.shape[1]
    group = q_BHqD.shape[1] // k_PNHD.shape[2]
    out = torch.zeros(q_BHqD.shape, dtype=q_BHqD.dtype, device=q_BHqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        if length == 0:
            continue
        pages = table_BL[b, : (length + n - 1) // n].tolist()
        for h in range(k_PNHD.shape[2]):
            k = _rows(k_PNHD[:, :, h], pages, 0, length)
            v = _rows(v_PNHD[:, :, h], pages, 0, length)
            for g in range(group):
                head = h * group + g
                scores = (k @ q_BHqD[b, head].float()) * scale
                weights = torch.exp(scores - scores.max())
                out[b, head] = (weights @ v) / weights.sum()
    return out


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    if o_CBHqD.dim() != 4 or lse_CBHq.dim() != 3:
        raise ValueError("wrong rank")
    if o_CBHqD.shape[:3] != lse_CBHq.shape or o_CBHqD.shape[0] < 1:
        raise ValueError("wrong size")
    if o_CBHqD.dtype != torch.float32 or lse_CBHq.dtype != torch.float32:
        raise ValueError("wrong dtype")
    top = lse_CBHq[0].clone()
    for part in lse_CBHq:
        top = torch.maximum(top, part)
    shift = torch.where(top == -math.inf, torch.zeros_like(top), top)
    total = torch.zeros_like(top)
    out = torch.zeros(o_CBHqD.shape[1:], dtype=torch.float32, device=o_CBHqD.device)
    for o, lse in zip(o_CBHqD, lse_CBHq):
        weight = torch.exp(lse - shift)
        total = total + weight
        o = torch.where((lse == -math.inf)[..., None], torch.zeros_like(o), o)
        out = out + weight[..., None] * o
    nothing = total == 0
    out = out / torch.where(nothing, torch.ones_like(total), total)[..., None]
    return out, shift + torch.log(total)


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
    if n_splits < 1:
        raise ValueError("n_splits must be at least 1")
    _check(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if q_BHqD.shape[0] != lengths_B.shape[0]:
        raise ValueError("one query per sequence")
    if scale is None:
        scale = 1 / math.sqrt(q_BHqD.shape[2])
    n = k_PNHD.shape[1]
    group = q_BHqD.shape[1] // k_PNHD.shape[2]
    out = torch.zeros(q_BHqD.shape, dtype=torch.float32, device=q_BHqD.device)
    lse = torch.full(q_BHqD.shape[:2], -math.inf, dtype=torch.float32, device=q_BHqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        pages = table_BL[b, : (length + n - 1) // n].tolist()
        size = -(-length // n_splits)
        for h in range(k_PNHD.shape[2]):
            for first in range(0, length, max(size, 1)):
                last = min(first + size, length)
                k = _rows(k_PNHD[:, :, h], pages, first, last)
                v = _rows(v_PNHD[:, :, h], pages, first, last)
                for head in range(h * group, (h + 1) * group):
                    scores = (k @ q_BHqD[b, head].float()) * scale
                    part = torch.logsumexp(scores, 0)
                    both = torch.logaddexp(lse[b, head], part)
                    old = torch.exp(lse[b, head] - both)
                    out[b, head] = out[b, head] * old + torch.exp(scores - both) @ v
                    lse[b, head] = both
    return out.to(q_BHqD.dtype), lse


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
        self._holders = [0] * n_blocks
        self._queue = dict.fromkeys(range(n_blocks))  # ordered; the values mean nothing
        self._table: dict[int, list] = {}  # hash -> [number, tokens, number of the parent, block]
        self._entry_of: dict[int, int] = {}  # block -> hash
        self._next = 1

    @property
    def n_free(self) -> int:
        return len(self._queue)

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        if not tokens:
            raise ValueError("empty prompt")
        n = len(tokens)
        full = []
        parent = 0
        for i in range(n // self._size):
            chunk = tuple(tokens[i * self._size : (i + 1) * self._size])
            parent = self._hash(parent, chunk)
            full.append((parent, chunk))
        hits: list[int] = []
        behind = 0
        for h, chunk in full[: (n - 1) // self._size]:
            entry = self._table.get(h)
            if entry is None or entry[1] != chunk or entry[2] != behind:
                break
            hits.append(entry[3])
            behind = entry[0]
        n_new = -(-n // self._size) - len(hits)
        n_free_hits = 0
        for block in hits:
            if self._holders[block] == 0:
                n_free_hits += 1
        if len(self._queue) - n_free_hits < n_new:
            raise RuntimeError("too few blocks")
        for block in hits:
            if self._holders[block] == 0:
                del self._queue[block]
            self._holders[block] += 1
        blocks = list(hits)
        for i in range(len(hits), len(hits) + n_new):
            block = next(iter(self._queue))
            del self._queue[block]
            self._holders[block] = 1
            blocks.append(block)
            if i < len(full):
                h, chunk = full[i]
                entry = self._table.get(h)
                if entry is not None and entry[1] == chunk and entry[2] == behind:
                    if entry[3] != block:
                        self._forget(block)
                    behind = entry[0]
                    continue
                self._forget(block)
                if entry is not None and self._table.get(h) is entry:
                    del self._entry_of[entry[3]]
                self._table[h] = [self._next, chunk, behind, block]
                self._entry_of[block] = h
                behind = self._next
                self._next += 1
            else:
                self._forget(block)
        return blocks, len(hits) * self._size

    def _forget(self, block: int) -> None:
        if block in self._entry_of:
            del self._table[self._entry_of.pop(block)]

    def release(self, blocks: list[int]) -> None:
        named: dict[int, int] = {}
        for block in blocks:
            named[block] = named.get(block, 0) + 1
        for block, times in named.items():
            if block < 0 or block >= len(self._holders) or times > self._holders[block]:
                raise ValueError(f"block {block} is not held so often")
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._queue[block] = None


class ForkingCache:
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
        self._k = torch.zeros(n_blocks, block_size, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._v = torch.zeros_like(self._k)
        self._free = list(range(n_blocks))
        self._holders = [0] * n_blocks
        self._tables: dict[int, list[int]] = {}
        self._lengths: dict[int, int] = {}
        self._next = 0

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _known(self, sequence: int) -> None:
        if sequence not in self._tables:
            raise ValueError(f"no sequence {sequence}")

    def create(self) -> int:
        number = self._next
        self._next += 1
        self._tables[number] = []
        self._lengths[number] = 0
        return number

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        self._known(sequence)
        for x in (k_THD, v_THD):
            if x.dim() != 3 or x.shape[1:] != self._k.shape[2:] or x.dtype != self._k.dtype:
                raise ValueError("tokens must be [T, H, D] with the cache's dtype")
        if k_THD.shape != v_THD.shape:
            raise ValueError("as many keys as values")
        n_new = k_THD.shape[0]
        if n_new == 0:
            return
        table, length = self._tables[sequence], self._lengths[sequence]
        copy = length % self._n != 0 and self._holders[table[-1]] > 1
        blocks = -(-(length + n_new) // self._n) - len(table)
        if blocks + copy > len(self._free):
            raise RuntimeError("too few free blocks")
        if copy:
            old, new = table[-1], self._take()
            self._k[new] = self._k[old]
            self._v[new] = self._v[old]
            self._holders[old] -= 1
            table[-1] = new
        for t in range(n_new):
            page, row = divmod(length + t, self._n)
            if page == len(table):
                table.append(self._take())
            self._k[table[page], row] = k_THD[t]
            self._v[table[page], row] = v_THD[t]
        self._lengths[sequence] = length + n_new

    def _take(self) -> int:
        block = self._free.pop()
        self._holders[block] = 1
        return block

    def fork(self, sequence: int) -> int:
        self._known(sequence)
        number = self.create()
        self._tables[number] = list(self._tables[sequence])
        self._lengths[number] = self._lengths[sequence]
        for block in self._tables[number]:
            self._holders[block] += 1
        return number

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        self._known(sequence)
        length = self._lengths[sequence]
        shape = (length, *self._k.shape[2:])
        k = torch.empty(shape, dtype=self._k.dtype, device=self._k.device)
        v = torch.empty_like(k)
        for i, block in enumerate(self._tables[sequence]):
            first = i * self._n
            last = min(first + self._n, length)
            k[first:last] = self._k[block, : last - first]
            v[first:last] = self._v[block, : last - first]
        return k, v

    def release(self, sequence: int) -> None:
        self._known(sequence)
        for block in self._tables.pop(sequence):
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._free.append(block)
        del self._lengths[sequence]


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
    _check(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if starts_B1.dim() != 1 or starts_B1.dtype != torch.int64:
        raise ValueError("starts must be int64, of rank 1")
    if starts_B1.shape[0] != lengths_B.shape[0] + 1:
        raise ValueError("starts must have B + 1 numbers")
    starts = starts_B1.tolist()
    if starts[0] != 0 or starts[-1] != q_THqD.shape[0]:
        raise ValueError("starts must go from 0 to T")
    for a, b in zip(starts, starts[1:]):
        if b < a:
            raise ValueError("starts must not fall")
    if scale is None:
        scale = 1 / math.sqrt(q_THqD.shape[2])
    n = k_PNHD.shape[1]
    group = q_THqD.shape[1] // k_PNHD.shape[2]
    out = torch.zeros(q_THqD.shape, dtype=q_THqD.dtype, device=q_THqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        n_new = starts[b + 1] - starts[b]
        if n_new == 0 or length == 0:
            continue
        pages = table_BL[b, : (length + n - 1) // n].tolist()
        for h in range(k_PNHD.shape[2]):
            k = _rows(k_PNHD[:, :, h], pages, 0, length)
            v = _rows(v_PNHD[:, :, h], pages, 0, length)
            for i in range(n_new):
                sees = length - n_new + i + 1
                if sees <= 0:
                    continue
                q = q_THqD[starts[b] + i, h * group : (h + 1) * group].float()
                weights = torch.softmax((q @ k[:sees].T) * scale, dim=1)
                out[starts[b] + i, h * group : (h + 1) * group] = (weights @ v[:sees]).to(out.dtype)
    return out


class Scheduler:
    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if n_blocks < 1 or block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks = n_blocks
        self._free = n_blocks
        self._size = block_size
        self._max_running = max_running
        self._eos = eos_id
        self._tokens: dict[int, list[int]] = {}
        self._end: dict[int, int] = {}
        self._held: dict[int, int] = {}
        self._queue: deque[int] = deque()
        self._running: list[int] = []
        self._open: list[int] | None = None

    @property
    def n_free(self) -> int:
        return self._free

    def _need(self, n_tokens: int) -> int:
        return (n_tokens + self._size - 1) // self._size

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._tokens:
            raise ValueError(f"request {request} was there before")
        if len(prompt) == 0 or max_new_tokens < 1:
            raise ValueError("empty prompt or nothing to generate")
        if self._need(len(prompt) + max_new_tokens - 1) > self._n_blocks:
            raise ValueError("the request could never end")
        self._tokens[request] = list(prompt)
        self._end[request] = len(prompt) + max_new_tokens
        self._queue.append(request)

    def step(self) -> dict[str, list[int]]:
        if self._open:
            raise RuntimeError("the last step has not been committed")
        preempted: list[int] = []
        i = 0
        while i < len(self._running):
            request = self._running[i]
            if self._need(len(self._tokens[request])) == self._held[request]:
                i += 1
            elif self._free > 0:
                self._free -= 1
                self._held[request] += 1
                i += 1
            else:
                newest = self._running.pop()
                self._free += self._held.pop(newest)
                self._queue.appendleft(newest)
                preempted.append(newest)
        decoded = list(self._running)
        admitted: list[int] = []
        while not preempted and self._queue and len(self._running) < self._max_running:
            request = self._queue[0]
            need = self._need(len(self._tokens[request]))
            if need > self._free:
                break
            self._queue.popleft()
            self._free -= need
            self._held[request] = need
            self._running.append(request)
            admitted.append(request)
        self._open = list(self._running)
        return {"admitted": admitted, "decoded": decoded, "preempted": preempted}

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if self._open is None:
            raise ValueError("there is no step to commit")
        if sorted(pair[0] for pair in tokens) != sorted(self._open):
            raise ValueError("not the requests of the last step")
        self._open = None
        for request, token in tokens:
            self._tokens[request].append(token)
        ended = []
        for request in list(self._running):
            mine = self._tokens[request]
            if mine[-1] == self._eos or len(mine) == self._end[request]:
                ended.append(request)
                self._running.remove(request)
                self._free += self._held.pop(request)
        return ended

    def tokens(self, request: int) -> list[int]:
        if request not in self._tokens:
            raise ValueError(f"no request {request}")
        return list(self._tokens[request])
