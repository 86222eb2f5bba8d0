"""Paged attention, whole tensors at a time: index arithmetic, einsum, masks, bincount."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from harness import PagePool

Tensor = torch.Tensor


class BlockAllocator:
    def __init__(self, n_blocks: int) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        self._n = n_blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(n_blocks))
        self._held: Counter[int] = Counter()

    @property
    def n_free(self) -> int:
        return self._n - len(self._held)

    def count(self, block: int) -> int:
        if not 0 <= block < self._n:
            raise ValueError(f"no block {block}")
        return self._held[block]

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError("count is negative")
        if count > len(self._free):
            raise RuntimeError("too few free blocks")
        taken = list(islice(self._free, count))
        for block in taken:
            del self._free[block]
        self._held.update(taken)
        return taken

    def share(self, block: int) -> None:
        if block not in self._held:
            raise ValueError(f"block {block} is not in use")
        self._held[block] += 1

    def release(self, blocks: list[int]) -> None:
        wanted = Counter(blocks)
        if any(self._held.get(block, 0) < times for block, times in wanted.items()):
            raise ValueError("a block is named more often than it has holders")
        for block in blocks:
            self._held[block] -= 1
            if not self._held[block]:
                del self._held[block]
                self._free[block] = None


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    keys, values = pool.k_PNHD, pool.v_PNHD
    p, n, h, d = keys.shape
    if k_THD.ndim != 3 or k_THD.shape[1:] != (h, d) or k_THD.dtype != keys.dtype:
        raise ValueError("k must be [T, H, D] with the dtype of the pool")
    if v_THD.shape != k_THD.shape or v_THD.dtype != k_THD.dtype:
        raise ValueError("v must be like k")
    if slots_T.shape != k_THD.shape[:1] or slots_T.dtype != torch.int64:
        raise ValueError("slots must be [T] and int64")
    if ((slots_T < -1) | (slots_T >= p * n)).any():
        raise ValueError("no such slot")
    alive = slots_T >= 0
    slots = slots_T[alive]
    if slots.unique().numel() != slots.numel():
        raise ValueError("two tokens have the same slot")
    page, row = slots // n, slots % n
    keys[page, row] = k_THD[alive]
    values[page, row] = v_THD[alive]


def _validate(q: Tensor, k: Tensor, v: Tensor, table: Tensor, lengths: Tensor) -> None:
    if q.ndim != 3 or k.ndim != 4 or table.ndim != 2 or lengths.ndim != 1:
        raise ValueError("wrong rank")
    if k.shape != v.shape or q.shape[2] != k.shape[3] or table.shape[0] != lengths.shape[0]:
        raise ValueError("wrong size")
    if q.dtype not in (torch.float32, torch.float16) or not q.dtype == k.dtype == v.dtype:
        raise ValueError("q, k and v must all be float32 or all float16")
    if table.dtype != torch.int64 or lengths.dtype != torch.int64:
        raise ValueError("table and lengths must be int64")
    p, n, h, _ = k.shape
    if n < 1 or h < 1 or q.shape[1] % h:
        raise ValueError("Hq is no multiple of H")
    if ((lengths < 0) | (lengths > table.shape[1] * n)).any():
        raise ValueError("a length does not fit the table")
    first = torch.arange(table.shape[1], device=table.device) * n
    used = table[first[None, :] < lengths[:, None]]
    if ((used < 0) | (used >= p)).any():
        raise ValueError("a page in use does not exist")


def _tokens(pages: Tensor, row: Tensor, first: int, last: int) -> Tensor:
    """Tokens first … last - 1 of one sequence, [S, H, D], float32."""
    t = torch.arange(first, last, device=pages.device)
    n = pages.shape[1]
    return pages[row[t // n], t % n].float()


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _validate(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if q_BHqD.shape[0] != lengths_B.shape[0]:
        raise ValueError("one query per sequence")
    b, hq, d = q_BHqD.shape
    h = k_PNHD.shape[2]
    scale = d**-0.5 if scale is None else scale
    q_BHGD = q_BHqD.float().reshape(b, h, hq // h, d) * scale
    out = torch.zeros(b, h, hq // h, d, device=q_BHqD.device)
    for i, length in enumerate(lengths_B.tolist()):
        if length:
            k_SHD = _tokens(k_PNHD, table_BL[i], 0, length)
            weights_HGS = torch.einsum("hgd,shd->hgs", q_BHGD[i], k_SHD).softmax(-1)
            v_SHD = _tokens(v_PNHD, table_BL[i], 0, length)
            out[i] = torch.einsum("hgs,shd->hgd", weights_HGS, v_SHD)
    return out.reshape(b, hq, d).to(q_BHqD.dtype)


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    if o_CBHqD.ndim != 4 or o_CBHqD.shape[:3] != lse_CBHq.shape or lse_CBHq.shape[0] < 1:
        raise ValueError("o must be [C, B, Hq, D] and lse [C, B, Hq]")
    if o_CBHqD.dtype != torch.float32 or lse_CBHq.dtype != torch.float32:
        raise ValueError("both must be float32")
    lse = lse_CBHq.logsumexp(0)
    weights = (lse_CBHq - lse.masked_fill(lse.isneginf(), 0.0)).exp()
    o = o_CBHqD.masked_fill(lse_CBHq.isneginf().unsqueeze(-1), 0.0)
    return torch.einsum("cbh,cbhd->bhd", weights, o), lse


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
    _validate(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if q_BHqD.shape[0] != lengths_B.shape[0] or n_splits < 1:
        raise ValueError("one query per sequence, and at least one part")
    b, hq, d = q_BHqD.shape
    h = k_PNHD.shape[2]
    scale = d**-0.5 if scale is None else scale
    q_BHGD = q_BHqD.float().reshape(b, h, hq // h, d) * scale
    out = torch.zeros(b, hq, d, device=q_BHqD.device)
    lse = torch.full((b, hq), -torch.inf, device=q_BHqD.device)
    for i, length in enumerate(lengths_B.tolist()):
        parts = min(n_splits, length)
        if parts == 0:
            continue
        o_part = torch.empty(parts, 1, hq, d, device=q_BHqD.device)
        lse_part = torch.empty(parts, 1, hq, device=q_BHqD.device)
        for c in range(parts):
            first, last = length * c // parts, length * (c + 1) // parts
            k_SHD = _tokens(k_PNHD, table_BL[i], first, last)
            s_HGS = torch.einsum("hgd,shd->hgs", q_BHGD[i], k_SHD)
            lse_part[c, 0] = s_HGS.logsumexp(-1).reshape(hq)
            v_SHD = _tokens(v_PNHD, table_BL[i], first, last)
            o_part[c, 0] = torch.einsum("hgs,shd->hgd", s_HGS.softmax(-1), v_SHD).reshape(hq, d)
        o, one = merge_splits(o_part, lse_part)
        out[i], lse[i] = o[0], one[0]
    return out.to(q_BHqD.dtype), lse


class _Entry(NamedTuple):
    """What lies in a block, and the serial number of the entry before it."""

    serial: int
    hash: int
    tokens: tuple[int, ...]
    behind: int
    block: int


class PrefixCache:
    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        if min(n_blocks, block_size) < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks, self._block_size, self._hash_fn = n_blocks, block_size, hash_fn
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(n_blocks))
        self._held: Counter[int] = Counter()
        self._by_hash: dict[int, _Entry] = {}
        self._by_block: dict[int, _Entry] = {}
        self._serial = 0

    @property
    def n_free(self) -> int:
        return len(self._free)

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        n, size = len(tokens), self._block_size
        if n == 0:
            raise ValueError("the prompt is empty")
        chunks = [tuple(tokens[i : i + size]) for i in range(0, n - n % size, size)]
        hashes = []
        for chunk in chunks:
            hashes.append(self._hash_fn(hashes[-1] if hashes else 0, chunk))
        hits: list[_Entry] = []
        for chunk, value in zip(chunks[: (n - 1) // size], hashes):
            entry = self._by_hash.get(value)
            behind = hits[-1].serial if hits else 0
            if entry is None or (entry.tokens, entry.behind) != (chunk, behind):
                break
            hits.append(entry)
        hit_blocks = [entry.block for entry in hits]
        revived = [block for block in hit_blocks if block in self._free]
        missing = (n + size - 1) // size - len(hits)
        if len(self._free) - len(revived) < missing:
            raise RuntimeError("too few blocks")
        for block in revived:
            del self._free[block]
        new = list(islice(self._free, missing))
        for block in new:
            del self._free[block]
        self._held.update(hit_blocks + new)
        last = hits[-1].serial if hits else 0
        todo = list(zip(hashes[len(hits) :], chunks[len(hits) :]))
        if todo:
            entry = self._by_hash.get(todo[0][0])
            if entry is not None and (entry.tokens, entry.behind) == (todo[0][1], last):
                # Known as a whole: the entry stays, in whichever block it is.
                for block in new:
                    if block != entry.block:
                        self._drop(block)
                return hit_blocks + new, len(hits) * size
        for block in new:
            self._drop(block)
        for block, (value, chunk) in zip(new, todo):
            if value in self._by_hash:
                self._drop(self._by_hash[value].block)
            self._serial += 1
            entry = _Entry(self._serial, value, chunk, last, block)
            self._by_hash[value] = self._by_block[block] = entry
            last = self._serial
        return hit_blocks + new, len(hits) * size

    def _drop(self, block: int) -> None:
        entry = self._by_block.pop(block, None)
        if entry is not None:
            del self._by_hash[entry.hash]

    def release(self, blocks: list[int]) -> None:
        if any(self._held.get(block, 0) < times for block, times in Counter(blocks).items()):
            raise ValueError("a block is named more often than it has holders")
        for block in blocks[::-1]:
            self._held[block] -= 1
            if not self._held[block]:
                del self._held[block]
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
        if min(n_blocks, block_size, n_kv_heads, head_dim) < 1:
            raise ValueError("sizes must be at least 1")
        # Keys and values side by side: one write, one copy, one gather for both.
        self._kv = torch.empty(
            n_blocks, block_size, 2, n_kv_heads, head_dim, dtype=dtype, device=device
        )
        self._free = deque(range(n_blocks))
        self._held: Counter[int] = Counter()
        self._sequences: dict[int, tuple[list[int], int]] = {}
        self._created = 0

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _get(self, sequence: int) -> tuple[list[int], int]:
        if sequence not in self._sequences:
            raise ValueError(f"no sequence {sequence}")
        return self._sequences[sequence]

    def _new(self, blocks: list[int], length: int) -> int:
        self._held.update(blocks)
        self._sequences[self._created] = (blocks, length)
        self._created += 1
        return self._created - 1

    def create(self) -> int:
        return self._new([], 0)

    def fork(self, sequence: int) -> int:
        blocks, length = self._get(sequence)
        return self._new(blocks[:], length)

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        blocks, length = self._get(sequence)
        size = self._kv.shape[1]
        wanted = (k_THD.shape[0] if k_THD.ndim else 0, *self._kv.shape[3:])
        if k_THD.shape != wanted or v_THD.shape != wanted:
            raise ValueError("tokens must be [T, H, D]")
        if k_THD.dtype != self._kv.dtype or v_THD.dtype != self._kv.dtype:
            raise ValueError("tokens must have the cache's dtype")
        end = length + wanted[0]
        shared = wanted[0] > 0 and length % size > 0 and self._held[blocks[-1]] > 1
        extra = (end + size - 1) // size - len(blocks)
        if extra + int(shared) > len(self._free):
            raise RuntimeError("too few free blocks")
        taken = [self._free.popleft() for _ in range(extra + int(shared))]
        self._held.update(taken)
        if shared:
            self._kv[taken[0]] = self._kv[blocks[-1]]
            self._held[blocks[-1]] -= 1
            blocks = blocks[:-1]
        blocks = blocks + taken
        t = torch.arange(length, end, device=self._kv.device)
        page = torch.tensor(blocks, dtype=torch.int64, device=self._kv.device)[t // size]
        self._kv[page, t % size] = torch.stack((k_THD, v_THD), dim=1)
        self._sequences[sequence] = (blocks, end)

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        blocks, length = self._get(sequence)
        index = torch.tensor(blocks, dtype=torch.int64, device=self._kv.device)
        rows = self._kv[index].flatten(0, 1)[:length]
        return rows[:, 0].clone(), rows[:, 1].clone()

    def release(self, sequence: int) -> None:
        blocks, _ = self._get(sequence)
        del self._sequences[sequence]
        self._held.subtract(blocks)
        self._free.extend(block for block in blocks if self._held[block] == 0)


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
    _validate(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if starts_B1.shape != (lengths_B.shape[0] + 1,) or starts_B1.dtype != torch.int64:
        raise ValueError("starts must be [B + 1] and int64")
    if starts_B1[0] != 0 or starts_B1[-1] != q_THqD.shape[0] or (starts_B1.diff() < 0).any():
        raise ValueError("starts must rise from 0 to T")
    t, hq, d = q_THqD.shape
    h = k_PNHD.shape[2]
    scale = d**-0.5 if scale is None else scale
    out = torch.zeros(t, h, hq // h, d, device=q_THqD.device, dtype=q_THqD.dtype)
    starts = starts_B1.tolist()
    for b, length in enumerate(lengths_B.tolist()):
        n = starts[b + 1] - starts[b]
        if n == 0 or length == 0:
            continue
        q_THGD = q_THqD[starts[b] : starts[b + 1]].float().reshape(n, h, hq // h, d)
        k_SHD = _tokens(k_PNHD, table_BL[b], 0, length)
        s_HGTS = torch.einsum("thgd,shd->hgts", q_THGD * scale, k_SHD)
        mine = torch.arange(length - n, length, device=q_THqD.device)
        other = torch.arange(length, device=q_THqD.device)
        s_HGTS.masked_fill_(other[None, :] > mine[:, None], -torch.inf)
        w_HGTS = s_HGTS.softmax(-1).masked_fill_((mine < 0)[:, None], 0.0)
        v_SHD = _tokens(v_PNHD, table_BL[b], 0, length)
        out[starts[b] : starts[b + 1]] = torch.einsum("hgts,shd->thgd", w_HGTS, v_SHD).to(out.dtype)
    return out.reshape(t, hq, d)


class Scheduler:
    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if min(n_blocks, block_size, max_running) < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks, self._block_size = n_blocks, block_size
        self._max_running, self._eos_id = max_running, eos_id
        self._all: dict[int, list[int]] = {}
        self._limit: dict[int, int] = {}
        self._queue: deque[int] = deque()
        self._blocks: dict[int, int] = {}  # running requests, oldest first, and what they hold
        self._waiting_for: frozenset[int] | None = None

    @property
    def n_free(self) -> int:
        return self._n_blocks - sum(self._blocks.values())

    def _blocks_for(self, n: int) -> int:
        return -(-n // self._block_size)

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._all or not prompt or max_new_tokens < 1:
            raise ValueError("known request, empty prompt or nothing to generate")
        if self._blocks_for(len(prompt) + max_new_tokens - 1) > self._n_blocks:
            raise ValueError("the request does not fit even alone")
        self._all[request] = [*prompt]
        self._limit[request] = len(prompt) + max_new_tokens
        self._queue.append(request)

    def step(self) -> dict[str, list[int]]:
        if self._waiting_for:
            raise RuntimeError("commit the last step first")
        need = {r: self._blocks_for(len(self._all[r])) for r in self._blocks}
        preempted = []
        for request in list(need):
            while request in self._blocks and self._blocks[request] < need[request]:
                if self.n_free:
                    self._blocks[request] += 1
                else:
                    newest, _ = self._blocks.popitem()
                    self._queue.appendleft(newest)
                    preempted.append(newest)
        decoded = list(self._blocks)
        if not preempted:
            while self._queue and len(self._blocks) < self._max_running:
                wanted = self._blocks_for(len(self._all[self._queue[0]]))
                if wanted > self.n_free:
                    break
                self._blocks[self._queue.popleft()] = wanted
        self._waiting_for = frozenset(self._blocks)
        return {
            "admitted": list(self._blocks)[len(decoded) :],
            "decoded": decoded,
            "preempted": preempted,
        }

    def commit(self, tokens: list[list[int]]) -> list[int]:
        new = {request: token for request, token in tokens}
        if self._waiting_for is None or len(new) != len(tokens) or new.keys() != self._waiting_for:
            raise ValueError("not the requests of the last step, or committed before")
        self._waiting_for = None
        ended = []
        for request in self._blocks:
            self._all[request].append(new[request])
            if new[request] == self._eos_id or len(self._all[request]) >= self._limit[request]:
                ended.append(request)
        for request in ended:
            del self._blocks[request]
        return ended

    def tokens(self, request: int) -> list[int]:
        if request not in self._all:
            raise ValueError(f"no request {request}")
        return self._all[request].copy()
