"""Paged attention with dataclasses: blocks, entries, sequences and requests are objects."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from harness import PagePool

Tensor = torch.Tensor


def ceil_div(a: int, b: int) -> int:
    return (a + b - 1) // b


@dataclass(slots=True)
class _Block:
    number: int
    holders: int = 0
    asked: int = 0  # scratch for release: how often the call names it


class BlockAllocator:
    def __init__(self, n_blocks: int) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        self._blocks = [_Block(i) for i in range(n_blocks)]
        self._queue = deque(self._blocks)

    def _block(self, number: int) -> _Block:
        if number < 0 or number >= len(self._blocks):
            raise ValueError(f"no block {number}")
        return self._blocks[number]

    @property
    def n_free(self) -> int:
        return len(self._queue)

    def count(self, block: int) -> int:
        return self._block(block).holders

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError("count is negative")
        if len(self._queue) < count:
            raise RuntimeError("too few free blocks")
        taken = []
        while len(taken) < count:
            block = self._queue.popleft()
            block.holders = 1
            taken.append(block.number)
        return taken

    def share(self, block: int) -> None:
        found = self._block(block)
        if found.holders == 0:
            raise ValueError("the block is free")
        found.holders += 1

    def release(self, blocks: list[int]) -> None:
        found = [self._block(number) for number in blocks]
        for block in found:
            block.asked += 1
        fits = all(block.asked <= block.holders for block in found)
        for block in found:
            block.asked = 0
        if not fits:
            raise ValueError("a block is named more often than it has holders")
        for block in found:
            block.holders -= 1
            if block.holders == 0:
                self._queue.append(block)


def write_kv(pool: PagePool, k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    keys, values = pool.k_PNHD, pool.v_PNHD
    p, n, h, d = keys.shape
    t = slots_T.shape[0] if slots_T.dim() == 1 else -1
    if t < 0 or k_THD.shape != (t, h, d) or v_THD.shape != (t, h, d):
        raise ValueError("k and v must be [T, H, D] and slots [T]")
    if k_THD.dtype != keys.dtype or v_THD.dtype != values.dtype or slots_T.dtype != torch.int64:
        raise ValueError("wrong dtype")
    plan: dict[int, int] = {}  # slot -> token
    for token, slot in enumerate(slots_T.tolist()):
        if slot == -1:
            continue
        if not 0 <= slot < p * n or slot in plan:
            raise ValueError(f"slot {slot} does not exist or is named twice")
        plan[slot] = token
    slots = torch.tensor(list(plan.keys()), dtype=torch.int64, device=keys.device)
    tokens = torch.tensor(list(plan.values()), dtype=torch.int64, device=keys.device)
    where = (slots // n, slots % n)
    keys.index_put_(where, k_THD.index_select(0, tokens))
    values.index_put_(where, v_THD.index_select(0, tokens))


@dataclass
class _Pages:
    """The pages of all sequences, checked when it is made."""

    k: Tensor
    v: Tensor
    lengths: list[int]
    tables: list[Tensor]
    group: int
    scale: float

    @classmethod
    def of(cls, q, k, v, table, lengths, scale) -> _Pages:
        for tensor, rank in ((q, 3), (k, 4), (v, 4), (table, 2), (lengths, 1)):
            if tensor.dim() != rank:
                raise ValueError("wrong rank")
        for tensor in (table, lengths):
            if tensor.dtype != torch.int64:
                raise ValueError("int64 wanted")
        if q.dtype not in {torch.float32, torch.float16} or {k.dtype, v.dtype} != {q.dtype}:
            raise ValueError("wrong dtype")
        p, n, h, d = k.shape
        if v.shape != k.shape or q.shape[2] != d or n == 0 or h == 0 or q.shape[1] % h != 0:
            raise ValueError("wrong size")
        if table.shape[0] != lengths.shape[0]:
            raise ValueError("table and lengths must have a row per sequence")
        many = lengths.tolist()
        if many and (min(many) < 0 or max(many) > table.shape[1] * n):
            raise ValueError("a length does not fit the table")
        tables = [table[b, : ceil_div(length, n)] for b, length in enumerate(many)]
        for used in tables:
            if used.numel() and (int(used.min()) < 0 or int(used.max()) >= p):
                raise ValueError("a page in use does not exist")
        scale = 1 / math.sqrt(d) if scale is None else scale
        return cls(k, v, many, tables, q.shape[1] // h, scale)

    def part(self, pages: Tensor, b: int, first: int, last: int) -> Tensor:
        """Tokens first … last - 1 of sequence b, [H, S, D], float32."""
        n = pages.shape[1]
        used = self.tables[b][first // n : ceil_div(last, n)]
        rows = pages.index_select(0, used).flatten(0, 1)
        start = first - first // n * n
        return rows[start : start + last - first].transpose(0, 1).float()

    def attend(self, q_HqD: Tensor, b: int, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Return attention and log-sum-exp of one query over some tokens."""
        hq, d = q_HqD.shape
        q = q_HqD.float().reshape(hq // self.group, self.group, d)
        s = torch.bmm(q, self.part(self.k, b, first, last).transpose(1, 2)) * self.scale
        lse = torch.logsumexp(s, dim=2, keepdim=True)
        o = torch.bmm(torch.exp(s - lse), self.part(self.v, b, first, last))
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
    pages = _Pages.of(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale)
    if q_BHqD.shape[0] != len(pages.lengths):
        raise ValueError("one query per sequence")
    out = torch.zeros(q_BHqD.shape, dtype=q_BHqD.dtype, device=q_BHqD.device)
    for b, length in enumerate(pages.lengths):
        if length > 0:
            out[b] = pages.attend(q_BHqD[b], b, 0, length)[0].to(out.dtype)
    return out


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    if o_CBHqD.dim() != 4 or lse_CBHq.dim() != 3:
        raise ValueError("wrong rank")
    if tuple(o_CBHqD.shape[:3]) != tuple(lse_CBHq.shape) or lse_CBHq.shape[0] == 0:
        raise ValueError("wrong size")
    if {o_CBHqD.dtype, lse_CBHq.dtype} != {torch.float32}:
        raise ValueError("wrong dtype")
    top = lse_CBHq.amax(dim=0)
    base = torch.where(torch.isinf(top), torch.zeros_like(top), top)
    weights = torch.exp(lse_CBHq - base)
    total = weights.sum(dim=0)
    held = torch.where((weights == 0)[..., None], torch.zeros_like(o_CBHqD), o_CBHqD)
    o = (weights[..., None] * held).sum(dim=0) / total.clamp(min=1.0)[..., None]
    return o, torch.log(total) + base


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
    pages = _Pages.of(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale)
    b, hq, d = q_BHqD.shape
    if b != len(pages.lengths):
        raise ValueError("one query per sequence")
    # Part c of every sequence, then what comes of it is merged: two parts at a time.
    o = torch.zeros(b, hq, d, dtype=torch.float32, device=q_BHqD.device)
    lse = torch.full((b, hq), -math.inf, dtype=torch.float32, device=q_BHqD.device)
    for c in range(min(n_splits, max(pages.lengths, default=0))):
        o_new = torch.full_like(o, math.nan)
        lse_new = torch.full_like(lse, -math.inf)
        for i, length in enumerate(pages.lengths):
            size, more = divmod(length, n_splits)
            first = c * size + min(c, more)
            last = first + size + (c < more)
            if last > first:
                o_new[i], lse_new[i] = pages.attend(q_BHqD[i], i, first, last)
        o, lse = merge_splits(torch.stack((o, o_new)), torch.stack((lse, lse_new)))
    return o.to(q_BHqD.dtype), lse


@dataclass(eq=False, slots=True)
class _Entry:
    hash: int
    tokens: tuple[int, ...]
    behind: _Entry | None
    block: _CacheBlock | None


@dataclass(eq=False, slots=True)
class _CacheBlock:
    number: int
    holders: int = 0
    entry: _Entry | None = None


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
                old = self._entries.get(value)
                if old is not None and old.tokens == chunk and old.behind is last:
                    last = old
                    if old.block is not block:
                        self._end(block.entry)
                    continue
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


@dataclass(eq=False)
class _Page:
    k: Tensor
    v: Tensor
    holders: int = 1


@dataclass
class _Sequence:
    pages: list[_Page] = field(default_factory=list)
    length: int = 0


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
        pool = torch.zeros(2, n_blocks, block_size, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._like = pool
        self._free = [_Page(pool[0, i], pool[1, i], 0) for i in range(n_blocks)]
        self._sequences: dict[int, _Sequence] = {}
        self._next = 0

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _get(self, sequence: int) -> _Sequence:
        try:
            return self._sequences[sequence]
        except KeyError:
            raise ValueError(f"no sequence {sequence}") from None

    def _enter(self, sequence: _Sequence) -> int:
        number, self._next = self._next, self._next + 1
        self._sequences[number] = sequence
        return number

    def create(self) -> int:
        return self._enter(_Sequence())

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        this = self._get(sequence)
        n, h, d = self._like.shape[2:]
        for x in (k_THD, v_THD):
            if x.dim() != 3 or x.shape[1:] != (h, d) or x.dtype != self._like.dtype:
                raise ValueError("tokens must be [T, H, D] with the cache's dtype")
        t = k_THD.shape[0]
        if v_THD.shape[0] != t:
            raise ValueError("as many values as keys")
        open_rows = -this.length % n  # rows of the last block that are still empty
        copy = bool(t and open_rows and this.pages[-1].holders > 1)
        fresh = ceil_div(max(t - open_rows, 0), n)
        if fresh + copy > len(self._free):
            raise RuntimeError("too few free blocks")
        if copy:
            old, new = this.pages[-1], self._free.pop()
            new.k.copy_(old.k)
            new.v.copy_(old.v)
            new.holders = 1
            old.holders -= 1
            this.pages[-1] = new
        for _ in range(fresh):
            page = self._free.pop()
            page.holders = 1
            this.pages.append(page)
        at = 0
        while at < t:
            page, row = this.pages[this.length // n], this.length % n
            count = min(n - row, t - at)
            page.k[row : row + count] = k_THD[at : at + count]
            page.v[row : row + count] = v_THD[at : at + count]
            at += count
            this.length += count

    def fork(self, sequence: int) -> int:
        this = self._get(sequence)
        for page in this.pages:
            page.holders += 1
        return self._enter(_Sequence(list(this.pages), this.length))

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        this = self._get(sequence)
        if not this.pages:
            return self._like.new_empty(0, *self._like.shape[3:]), self._like.new_empty(
                0, *self._like.shape[3:]
            )
        k = torch.cat([page.k for page in this.pages])[: this.length]
        v = torch.cat([page.v for page in this.pages])[: this.length]
        return k, v

    def release(self, sequence: int) -> None:
        for page in self._get(sequence).pages:
            page.holders -= 1
            if page.holders == 0:
                self._free.append(page)
        del self._sequences[sequence]


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
    pages = _Pages.of(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale)
    if starts_B1.dim() != 1 or starts_B1.dtype != torch.int64:
        raise ValueError("starts must be int64 of rank 1")
    starts = starts_B1.tolist()
    if len(starts) != len(pages.lengths) + 1 or starts != sorted(starts):
        raise ValueError("starts must be B + 1 numbers that never fall")
    if (starts[0], starts[-1]) != (0, q_THqD.shape[0]):
        raise ValueError("starts must go from 0 to T")
    t, hq, d = q_THqD.shape
    group = pages.group
    out = torch.zeros(t, hq, d, dtype=q_THqD.dtype, device=q_THqD.device)
    for b, length in enumerate(pages.lengths):
        first, last = starts[b], starts[b + 1]
        # Queries in front of the first token see nothing: leave them out.
        blind = max(last - first - length, 0)
        first += blind
        n = last - first
        if n == 0:
            continue
        k_HSD, v_HSD = pages.part(pages.k, b, 0, length), pages.part(pages.v, b, 0, length)
        hidden = torch.ones(n, length, dtype=torch.bool, device=out.device).triu(length - n + 1)
        for h in range(hq // group):
            q = q_THqD[first:last, h * group : (h + 1) * group].float()
            s = torch.matmul(q.transpose(0, 1), k_HSD[h].T) * pages.scale
            w = torch.softmax(s.masked_fill(hidden, -math.inf), dim=-1)
            o = torch.matmul(w, v_HSD[h]).transpose(0, 1)
            out[first:last, h * group : (h + 1) * group] = o.to(out.dtype)
    return out


@dataclass(eq=False)
class _Request:
    number: int
    age: int
    tokens: list[int]
    end: int
    blocks: int = 0


class Scheduler:
    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if n_blocks < 1 or block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks = self._n_free = n_blocks
        self._block_size = block_size
        self._max_running = max_running
        self._eos_id = eos_id
        self._requests: dict[int, _Request] = {}
        self._queue: deque[_Request] = deque()
        self._running: list[_Request] = []
        self._committed = True

    @property
    def n_free(self) -> int:
        return self._n_free

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._requests:
            raise ValueError("this number was used before")
        if not prompt or max_new_tokens < 1:
            raise ValueError("empty prompt or nothing to generate")
        if ceil_div(len(prompt) + max_new_tokens - 1, self._block_size) > self._n_blocks:
            raise ValueError("more blocks than there are")
        new = _Request(request, len(self._requests), list(prompt), len(prompt) + max_new_tokens)
        self._requests[request] = new
        self._queue.append(new)

    def _give(self, request: _Request, blocks: int) -> None:
        self._n_free -= blocks - request.blocks
        request.blocks = blocks

    def step(self) -> dict[str, list[int]]:
        if not self._committed and self._running:
            raise RuntimeError("the last step has not been committed")
        preempted: list[_Request] = []
        for request in tuple(self._running):
            if request in preempted:
                break  # so are all that are newer
            wanted = ceil_div(len(request.tokens), self._block_size)
            while request.blocks < wanted and request not in preempted:
                if self._n_free:
                    self._give(request, wanted)
                else:
                    newest = self._running.pop()
                    self._give(newest, 0)
                    preempted.append(newest)
                    self._queue.appendleft(newest)
        decoded = [request.number for request in self._running]
        while self._queue and not preempted and len(self._running) < self._max_running:
            wanted = ceil_div(len(self._queue[0].tokens), self._block_size)
            if wanted > self._n_free:
                break
            request = self._queue.popleft()
            self._give(request, wanted)
            self._running.append(request)
        self._committed = False
        return {
            "admitted": [request.number for request in self._running[len(decoded) :]],
            "decoded": decoded,
            "preempted": [request.number for request in preempted],
        }

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if self._committed:
            raise ValueError("there is no step to commit")
        if sorted(number for number, _ in tokens) != sorted(r.number for r in self._running):
            raise ValueError("not the requests of the last step")
        self._committed = True
        for number, token in tokens:
            self._requests[number].tokens.append(token)
        ended = [r for r in self._running if r.tokens[-1] == self._eos_id or len(r.tokens) == r.end]
        for request in ended:
            self._give(request, 0)
        self._running = [r for r in self._running if r not in ended]
        return [r.number for r in ended]

    def tokens(self, request: int) -> list[int]:
        if request not in self._requests:
            raise ValueError(f"no request {request}")
        return list(self._requests[request].tokens)
