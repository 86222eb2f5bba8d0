"""Paged attention out of what torch brings along: sdpa, softmax, bincount, index_copy, split."""

import math
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from harness import PagePool

Tensor = torch.Tensor


class BlockAllocator:
    def __init__(self, n_blocks: int) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        self._queue: deque[int] = deque(range(n_blocks))
        self._holders: dict[int, int] = dict.fromkeys(range(n_blocks), 0)

    @property
    def n_free(self) -> int:
        return len(self._queue)

    def count(self, block: int) -> int:
        try:
            return self._holders[block]
        except KeyError:
            raise ValueError(f"no block {block}") from None

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError("count is negative")
        if count > self.n_free:
            raise RuntimeError("too few blocks are free")
        blocks = [self._queue.popleft() for _ in range(count)]
        self._holders.update(dict.fromkeys(blocks, 1))
        return blocks

    def share(self, block: int) -> None:
        if not self._holders.get(block):
            raise ValueError("no such block in use")
        self._holders[block] += 1

    def release(self, blocks: list[int]) -> None:
        for block, times in Counter(blocks).items():
            if self._holders.get(block, 0) < times:
                raise ValueError(f"block {block} is not held {times} times")
        for block in blocks:
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._queue.append(block)


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    keys, values = pool.k_PNHD, pool.v_PNHD
    p, n, h, d = keys.shape
    if k_THD.dim() != 3 or k_THD.shape[1:] != keys.shape[2:] or k_THD.shape != v_THD.shape:
        raise ValueError("k and v must be [T, H, D]")
    if slots_T.dim() != 1 or len(slots_T) != len(k_THD) or slots_T.dtype != torch.int64:
        raise ValueError("slots must be [T], int64")
    if k_THD.dtype != keys.dtype or v_THD.dtype != keys.dtype:
        raise ValueError("k and v must have the dtype of the pool")
    if slots_T.numel() == 0:
        return
    low, high = torch.aminmax(slots_T)
    if low < -1 or high >= p * n:
        raise ValueError("there is no such slot")
    used = torch.nonzero(slots_T != -1).squeeze(1)
    slots = slots_T.index_select(0, used)
    if slots.numel() and (torch.unique(slots, return_counts=True)[1] > 1).any():
        raise ValueError("two tokens for one slot")
    page, row = torch.div(slots, n, rounding_mode="floor"), torch.remainder(slots, n)
    keys[page, row] = k_THD.index_select(0, used)
    values[page, row] = v_THD.index_select(0, used)


def _fits(q: Tensor, k: Tensor, v: Tensor, table: Tensor, lengths: Tensor, starts=None) -> None:
    """Refuse what does not fit; without `starts` there must be one query per sequence."""
    ranks = [x.dim() for x in (q, k, v, table, lengths)]
    if ranks != [3, 4, 4, 2, 1]:
        raise ValueError(f"ranks {ranks}")
    if q.dtype not in (torch.float32, torch.float16):
        raise ValueError("q must be float32 or float16")
    if not (k.dtype == v.dtype == q.dtype and table.dtype == lengths.dtype == torch.int64):
        raise ValueError("dtypes do not fit")
    p, n, h, d = k.shape
    b = lengths.shape[0]
    if v.shape != k.shape or q.shape[2] != d or table.shape[0] != b:
        raise ValueError("sizes do not fit")
    if n < 1 or h < 1 or q.shape[1] % h != 0:
        raise ValueError("Hq must be a multiple of H")
    if b and not (0 <= int(lengths.min()) and int(lengths.max()) <= table.shape[1] * n):
        raise ValueError("lengths do not fit")
    entries = torch.arange(table.shape[1], device=table.device).expand(b, -1)
    used = torch.masked_select(table, entries < torch.div(lengths + n - 1, n, rounding_mode="floor")[:, None])
    if used.numel() and not (0 <= int(used.min()) and int(used.max()) < p):
        raise ValueError("page numbers do not fit")
    if starts is None:
        if q.shape[0] != b:
            raise ValueError("one query per sequence")
        return
    if starts.dim() != 1 or starts.dtype != torch.int64 or starts.shape[0] != b + 1:
        raise ValueError("starts must be [B + 1], int64")
    if int(starts[0]) != 0 or int(starts[-1]) != q.shape[0]:
        raise ValueError("starts must go from 0 to T")
    if b and int(torch.diff(starts).min()) < 0:
        raise ValueError("starts must not fall")


def _gather(pages: Tensor, row_L: Tensor, length: int, group: int, start: int = 0) -> Tensor:
    """Tokens start … length - 1 for every query head, [1, Hq, S, D] (heads repeated by a view)."""
    p, n, h, d = pages.shape
    t = torch.arange(start, length, device=pages.device)
    page = row_L.gather(0, torch.div(t, n, rounding_mode="floor"))
    x_HSD = pages[page, torch.remainder(t, n)].transpose(0, 1).float()
    return x_HSD[:, None].expand(h, group, length - start, d).reshape(1, h * group, length - start, d)


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _fits(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    group = q_BHqD.shape[1] // k_PNHD.shape[2]
    if scale is None:
        scale = 1.0 / math.sqrt(q_BHqD.shape[2])
    out = torch.zeros_like(q_BHqD, memory_format=torch.contiguous_format)
    for b, length in enumerate(lengths_B.tolist()):
        if length == 0:
            continue
        k = _gather(k_PNHD, table_BL[b], length, group)
        v = _gather(v_PNHD, table_BL[b], length, group)
        q = q_BHqD[b].float()[None, :, None] * scale
        out[b] = F.scaled_dot_product_attention(q, k, v, scale=1.0)[0, :, 0].to(out.dtype)
    return out


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    if o_CBHqD.dim() != 4 or lse_CBHq.dim() != 3 or o_CBHqD.shape[:-1] != lse_CBHq.shape:
        raise ValueError("o must be [C, B, Hq, D], lse [C, B, Hq]")
    if len(o_CBHqD) < 1:
        raise ValueError("no part")
    if o_CBHqD.dtype != torch.float32 or lse_CBHq.dtype != torch.float32:
        raise ValueError("float32 wanted")
    empty = torch.isneginf(lse_CBHq)
    # The log-sum-exps are scores of the parts: their softmax weighs them.
    weights = torch.nan_to_num(torch.softmax(lse_CBHq, dim=0), nan=0.0)
    o = torch.where(empty.unsqueeze(-1), o_CBHqD.new_zeros(()), o_CBHqD)
    return torch.sum(weights.unsqueeze(-1) * o, dim=0), torch.logsumexp(lse_CBHq, dim=0)


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
    _fits(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if n_splits < 1:
        raise ValueError("n_splits must be at least 1")
    b, hq, d = q_BHqD.shape
    group = hq // k_PNHD.shape[2]
    if scale is None:
        scale = 1.0 / math.sqrt(d)
    outs, lses = [], []
    for i, length in enumerate(lengths_B.tolist()):
        o_parts = [torch.zeros(1, hq, d, device=q_BHqD.device)]
        lse_parts = [torch.full((1, hq), -torch.inf, device=q_BHqD.device)]
        q = q_BHqD[i].float()[None, :, None] * scale
        for part in torch.arange(length).tensor_split(min(n_splits, length)) if length else ():
            first, last = int(part[0]), int(part[-1]) + 1
            k = _gather(k_PNHD, table_BL[i], last, group, first)
            s = torch.matmul(q, k.transpose(2, 3))
            del k
            v = _gather(v_PNHD, table_BL[i], last, group, first)
            o_parts.append(torch.matmul(torch.softmax(s, dim=-1), v)[:, :, 0])
            lse_parts.append(torch.logsumexp(s, dim=-1)[:, :, 0])
        o, lse = merge_splits(torch.stack(o_parts), torch.stack(lse_parts))
        outs.append(o)
        lses.append(lse)
    if not outs:
        return torch.empty(0, hq, d, dtype=q_BHqD.dtype), torch.empty(0, hq)
    return torch.cat(outs).to(q_BHqD.dtype), torch.cat(lses)


class PrefixCache:
    """What lies in block i stands in four lists; a version number says which content is meant."""

    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        if block_size < 1:
            raise ValueError("block_size must be at least 1")
        self._size, self._hash = block_size, hash_fn
        self._free: dict[int, None] = dict.fromkeys(range(n_blocks))
        self._holders = [0] * n_blocks
        self._hash_of: list[int | None] = [None] * n_blocks
        self._tokens_of: list[tuple[int, ...]] = [()] * n_blocks
        self._behind: list[tuple[int, int]] = [(-1, 0)] * n_blocks
        self._version = [0] * n_blocks
        self._lookup: dict[int, int] = {}

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _is(self, value: int, chunk: tuple[int, ...], behind: tuple[int, int]) -> int:
        """Return the block of exactly this entry, or -1."""
        block = self._lookup.get(value, -1)
        if block >= 0 and (self._tokens_of[block], self._behind[block]) == (chunk, behind):
            return block
        return -1

    def _clear(self, block: int) -> None:
        value = self._hash_of[block]
        if value is not None:
            del self._lookup[value]
            self._hash_of[block] = None
            self._version[block] += 1

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        n = len(tokens)
        if n == 0:
            raise ValueError("empty prompt")
        chunks = list(zip(*[iter(tokens)] * self._size))
        hashes, value = [], 0
        for chunk in chunks:
            value = self._hash(value, chunk)
            hashes.append(value)
        blocks: list[int] = []
        behind = (-1, 0)
        while len(blocks) < (n - 1) // self._size:
            block = self._is(hashes[len(blocks)], chunks[len(blocks)], behind)
            if block < 0:
                break
            blocks.append(block)
            behind = (block, self._version[block])
        n_hits = len(blocks)
        n_blocks = math.ceil(n / self._size)
        if n_blocks - n_hits > len(self._free) - sum(block in self._free for block in blocks):
            raise RuntimeError("too few blocks")
        for block in blocks:
            self._free.pop(block, None)
            self._holders[block] += 1
        for i in range(n_hits, n_blocks):
            block = next(iter(self._free))
            self._free.pop(block)
            self._holders[block] = 1
            blocks.append(block)
            same = self._is(hashes[i], chunks[i], behind) if i < len(chunks) else -1
            if same != block:
                self._clear(block)
            if i >= len(chunks):
                continue
            if same < 0:
                if hashes[i] in self._lookup:
                    self._clear(self._lookup[hashes[i]])
                self._lookup[hashes[i]] = block
                self._hash_of[block] = hashes[i]
                self._tokens_of[block] = chunks[i]
                self._behind[block] = behind
                same = block
            behind = (same, self._version[same])
        return blocks, n_hits * self._size

    def release(self, blocks: list[int]) -> None:
        for block, times in Counter(blocks).items():
            if not 0 <= block < len(self._holders) or self._holders[block] < times:
                raise ValueError(f"block {block} is not held {times} times")
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._free[block] = None


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
        if any(size < 1 for size in (n_blocks, block_size, n_kv_heads, head_dim)):
            raise ValueError("sizes must be at least 1")
        rows = n_blocks * block_size
        self._n = block_size
        self._k = torch.empty(rows, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._v = torch.empty(rows, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._holders = [0] * n_blocks
        self._free = deque(range(n_blocks))
        self._state: dict[int, tuple[list[int], int]] = {}
        self._count = 0

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _find(self, sequence: int) -> tuple[list[int], int]:
        if sequence not in self._state:
            raise ValueError(f"there is no sequence {sequence}")
        return self._state[sequence]

    def _rows(self, table: list[int], first: int, last: int) -> Tensor:
        pages = torch.tensor(table, dtype=torch.int64, device=self._k.device)
        t = torch.arange(first, last, device=self._k.device)
        return pages[t // self._n] * self._n + t % self._n

    def create(self) -> int:
        self._state[self._count] = ([], 0)
        self._count += 1
        return self._count - 1

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        table, length = self._find(sequence)
        for x in (k_THD, v_THD):
            if x.dim() != 3 or x.shape[1:] != self._k.shape[1:] or x.dtype != self._k.dtype:
                raise ValueError("[T, H, D] with the dtype of the cache wanted")
        if len(k_THD) != len(v_THD):
            raise ValueError("as many keys as values wanted")
        if len(k_THD) == 0:
            return
        end = length + len(k_THD)
        wanted = math.ceil(end / self._n) - len(table)
        row = length % self._n
        shared = row > 0 and self._holders[table[-1]] > 1
        if wanted + shared > len(self._free):
            raise RuntimeError("too few free blocks")
        if shared:
            old = self._rows(table, length - row, length)
            self._holders[table[-1]] -= 1
            table[-1] = self._free.popleft()
            self._holders[table[-1]] = 1
            new = self._rows(table, length - row, length)
            self._k.index_copy_(0, new, self._k[old])
            self._v.index_copy_(0, new, self._v[old])
        for _ in range(wanted):
            table.append(self._free.popleft())
            self._holders[table[-1]] = 1
        where = self._rows(table, length, end)
        self._k.index_copy_(0, where, k_THD)
        self._v.index_copy_(0, where, v_THD)
        self._state[sequence] = (table, end)

    def fork(self, sequence: int) -> int:
        table, length = self._find(sequence)
        child = self.create()
        self._state[child] = (table[:], length)
        for block in table:
            self._holders[block] += 1
        return child

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        table, length = self._find(sequence)
        where = self._rows(table, 0, length)
        return self._k.index_select(0, where), self._v.index_select(0, where)

    def release(self, sequence: int) -> None:
        table, _ = self._find(sequence)
        del self._state[sequence]
        for block in table:
            self._holders[block] -= 1
            if not self._holders[block]:
                self._free.append(block)


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
    _fits(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B, starts_B1)
    group = q_THqD.shape[1] // k_PNHD.shape[2]
    if scale is None:
        scale = 1.0 / math.sqrt(q_THqD.shape[2])
    chunks = []
    sizes = torch.diff(starts_B1).tolist()
    for b, (q, length) in enumerate(zip(torch.split(q_THqD, sizes), lengths_B.tolist())):
        seeing = min(len(q), length)
        chunks.append(torch.zeros_like(q[: len(q) - seeing]))
        if seeing == 0:
            continue
        k = _gather(k_PNHD, table_BL[b], length, group)
        v = _gather(v_PNHD, table_BL[b], length, group)
        q = q[len(q) - seeing :].float().transpose(0, 1)[None] * scale
        mask = torch.ones(seeing, length, dtype=torch.bool, device=q.device).tril(length - seeing)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        chunks.append(o[0].transpose(0, 1).to(q_THqD.dtype))
    return torch.cat(chunks) if chunks else torch.empty_like(q_THqD)


class Scheduler:
    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if n_blocks < 1 or block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks, self._size = n_blocks, block_size
        self._max_running, self._eos = max_running, eos_id
        self._text: dict[int, list[int]] = {}
        self._end: dict[int, int] = {}
        # All that have not ended, in the order of `add`; the first `_n_running` of them run.
        self._alive: list[int] = []
        self._n_running = 0
        self._held: list[int] = []
        self._step: list[int] | None = None

    @property
    def n_free(self) -> int:
        return self._n_blocks - sum(self._held)

    def _wanted(self, request: int) -> int:
        return math.ceil(len(self._text[request]) / self._size)

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._text:
            raise ValueError("the number was used before")
        if not prompt or max_new_tokens < 1:
            raise ValueError("nothing to read or nothing to write")
        if len(prompt) + max_new_tokens - 1 > self._n_blocks * self._size:
            raise ValueError("could never run")
        self._text[request] = list(prompt)
        self._end[request] = len(prompt) + max_new_tokens
        self._alive.append(request)

    def step(self) -> dict[str, list[int]]:
        if self._step:
            raise RuntimeError("the last step has not been committed")
        # The waiting ones are always newer than the running ones, so going back to the front of
        # the queue is nothing but no longer being counted.
        preempted = []
        i = 0
        while i < self._n_running:
            if self._wanted(self._alive[i]) > self._held[i]:
                if self.n_free == 0:
                    self._n_running -= 1
                    self._held.pop()
                    preempted.append(self._alive[self._n_running])
                    continue
                self._held[i] += 1
            i += 1
        decoded = self._alive[: self._n_running]
        admitted = []
        if not preempted:
            for request in self._alive[self._n_running :]:
                wanted = self._wanted(request)
                if self._n_running == self._max_running or wanted > self.n_free:
                    break
                self._held.append(wanted)
                self._n_running += 1
                admitted.append(request)
        self._step = decoded + admitted
        return {"admitted": admitted, "decoded": decoded, "preempted": preempted}

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if self._step is None or Counter(r for r, _ in tokens) != Counter(self._step):
            raise ValueError("not the requests of the last step")
        running, self._step = self._step, None
        for request, token in tokens:
            self._text[request].append(token)
        done = [
            self._text[r][-1] == self._eos or len(self._text[r]) == self._end[r] for r in running
        ]
        ended = [r for r, d in zip(running, done) if d]
        self._held = [held for held, d in zip(self._held, done) if not d]
        self._alive = [r for r, d in zip(running, done) if not d] + self._alive[len(running) :]
        self._n_running = len(self._held)
        return ended

    def tokens(self, request: int) -> list[int]:
        if request not in self._text:
            raise ValueError("there is no such request")
        return self._text[request] + []
