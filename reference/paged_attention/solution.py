"""The reference: bookkeeping, checks, attention without a GPU, and the kernels with one.

The kernels are those of `kernels/`, which travel with this file.

Shape letters: B sequences, T new tokens, S stored tokens, Hq query heads, H key/value heads, G
query heads per key/value head, D head dimension, P pages, N tokens in a page, L entries in a row of
the block table, C splits.
"""

import itertools
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from kernels.kv_write import kv_write
from kernels.paged_decode import LARGEST_D
from kernels.paged_decode import paged_decode as paged_decode_on_device
from kernels.paged_prefill import paged_prefill as paged_prefill_on_device
from kernels.split_kv_decode import split_kv_decode as split_kv_decode_on_device

if TYPE_CHECKING:
    from harness import PagePool

Tensor = torch.Tensor
MOST_SPLITS = 256
"""What one program merges; more parts of the same sequence give the same result."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _blocks_for(tokens: int, block_size: int) -> int:
    return -(-tokens // block_size)


class BlockAllocator:
    def __init__(self, n_blocks: int) -> None:
        _require(n_blocks >= 1, f"n_blocks must be at least 1, got {n_blocks}")
        self._counts = [0] * n_blocks
        self._free = deque(range(n_blocks))

    @property
    def n_free(self) -> int:
        return len(self._free)

    def count(self, block: int) -> int:
        _require(0 <= block < len(self._counts), f"there is no block {block}")
        return self._counts[block]

    def allocate(self, count: int) -> list[int]:
        _require(count >= 0, f"cannot allocate {count} blocks")
        if count > len(self._free):
            raise RuntimeError(f"{count} blocks wanted, {len(self._free)} free")
        blocks = [self._free.popleft() for _ in range(count)]
        for block in blocks:
            self._counts[block] = 1
        return blocks

    def share(self, block: int) -> None:
        _require(self.count(block) > 0, f"block {block} is free")
        self._counts[block] += 1

    def release(self, blocks: list[int]) -> None:
        for block, times in Counter(blocks).items():
            _require(self.count(block) >= times, f"block {block} is released too often")
        for block in blocks:
            self._counts[block] -= 1
            if self._counts[block] == 0:
                self._free.append(block)


# The cache keeps this allocator when a text that follows replaces the other name.
_Blocks = BlockAllocator


def _by_kernel(x: Tensor) -> bool:
    """Return whether a kernel takes over: on a processor it would be interpreted."""
    return x.is_cuda and x.shape[-1] <= LARGEST_D


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    k_PNHD, v_PNHD = pool.k_PNHD, pool.v_PNHD
    P, N, H, D = k_PNHD.shape
    for name, x in (("k", k_THD), ("v", v_THD)):
        _require(x.dim() == 3 and x.shape[1:] == (H, D), f"{name} has shape {tuple(x.shape)}")
        _require(x.dtype == k_PNHD.dtype, f"{name} must be {k_PNHD.dtype}, got {x.dtype}")
    _require(k_THD.shape == v_THD.shape, "k and v must have the same shape")
    _require(slots_T.dtype == torch.int64, f"slots must be int64, got {slots_T.dtype}")
    _require(slots_T.shape == k_THD.shape[:1], "there must be one slot per token")
    _require(bool(((slots_T >= -1) & (slots_T < P * N)).all()), "a slot outside the pool")
    real_T = slots_T >= 0
    used = slots_T[real_T]
    _require(used.unique().numel() == used.numel(), "two tokens have the same slot")
    if _by_kernel(k_PNHD):
        kv_write(k_THD, v_THD, slots_T, (k_PNHD, v_PNHD))
        return
    k_PNHD[used // N, used % N] = k_THD[real_T]
    v_PNHD[used // N, used % N] = v_THD[real_T]


def _require_paged(
    q: Tensor, k: Tensor, v: Tensor, table: Tensor, lengths: Tensor, *, rows: int
) -> None:
    """Check what all attention over pages has in common; `rows` is B."""
    _require(q.dim() == 3 and k.dim() == 4, "q must have 3 dimensions, k 4")
    _require(q.dtype in (torch.float32, torch.float16), f"q is {q.dtype}")
    _require(k.shape == v.shape, "k and v must have the same shape")
    _require(k.dtype == q.dtype and v.dtype == q.dtype, "q, k and v must have the same dtype")
    (P, N, H, D), Hq = k.shape, q.shape[1]
    _require(q.shape[2] == D, "q and k have different head dimensions")
    _require(N >= 1 and H >= 1 and Hq >= 1 and Hq % H == 0, f"{Hq} query heads, {H} key heads")
    _require(table.dim() == 2 and table.dtype == torch.int64, "the table must be int64 [B, L]")
    _require(lengths.dtype == torch.int64, f"lengths must be int64, got {lengths.dtype}")
    _require(table.shape[0] == rows and lengths.shape == (rows,), "one row and length per sequence")
    room = table.shape[1] * N
    _require(bool(((lengths >= 0) & (lengths <= room)).all()), f"a length outside 0 … {room}")
    first_L = torch.arange(table.shape[1], device=table.device) * N
    used = table[first_L < lengths[:, None]]
    _require(bool(((used >= 0) & (used < P)).all()), "a page number outside the pool")


def _tokens(x_PNHD: Tensor, pages_L: Tensor, first: int, last: int) -> Tensor:
    """Return tokens `first` … `last - 1` of a sequence as float32 [H, last - first, D]."""
    N = x_PNHD.shape[1]
    begin = first // N
    rows = x_PNHD[pages_L[begin : _blocks_for(last, N)]].flatten(0, 1)
    return rows[first - begin * N : last - begin * N].transpose(0, 1).float()


def _attend(q_HGD: Tensor, k_HSD: Tensor, v_HSD: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return attention over S >= 1 tokens, [H, G, D], and its log-sum-exp, [H, G]."""
    scores = (q_HGD @ k_HSD.transpose(1, 2)) * scale
    return torch.softmax(scores, dim=-1) @ v_HSD, torch.logsumexp(scores, dim=-1)


def _decode_one(
    q_HqD: Tensor, caches: tuple[Tensor, Tensor], pages_L: Tensor, cuts: list[int], scale: float
) -> tuple[Tensor, Tensor]:
    """Return attention of one query and its log-sum-exp, over parts between `cuts`, merged."""
    k_PNHD, v_PNHD = caches
    Hq, D = q_HqD.shape
    q_HGD = q_HqD.float().reshape(k_PNHD.shape[2], -1, D)
    parts: list[tuple[Tensor, Tensor]] = []
    for first, last in itertools.pairwise(cuts):
        if first < last:
            k, v = (_tokens(x, pages_L, first, last) for x in (k_PNHD, v_PNHD))
            parts.append(_attend(q_HGD, k, v, scale))
    if not parts:
        nothing = torch.zeros_like(q_HGD)
        parts.append((nothing, torch.full_like(nothing[..., 0], -math.inf)))
    out, lse = parts[0]
    if len(parts) > 1:
        out, lse = _merge(*(torch.stack(each) for each in zip(*parts, strict=True)))
    return out.reshape(Hq, D), lse.reshape(Hq)


def _scale(scale: float | None, D: int) -> float:
    return 1 / math.sqrt(D) if scale is None else scale


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])
    factor = _scale(scale, q_BHqD.shape[2])
    if _by_kernel(q_BHqD):
        caches = (k_PNHD, v_PNHD)
        return paged_decode_on_device(q_BHqD, caches, table_BL, lengths_B, scale=factor)[0]
    out = torch.zeros_like(q_BHqD, memory_format=torch.contiguous_format)
    for b, length in enumerate(lengths_B.tolist()):
        out[b] = _decode_one(q_BHqD[b], (k_PNHD, v_PNHD), table_BL[b], [0, length], factor)[0]
    return out


def _merge(o_C: Tensor, lse_C: Tensor) -> tuple[Tensor, Tensor]:
    """Merge parts along the first dimension; `o_C` has one dimension more than `lse_C`."""
    top = lse_C.amax(dim=0)
    shift = top.masked_fill(top == -math.inf, 0.0)
    weights = torch.exp(lse_C - shift)
    total = weights.sum(dim=0)
    o_C = o_C.masked_fill((weights == 0.0)[..., None], 0.0)
    out = (weights[..., None] * o_C).sum(dim=0) / total.masked_fill(total == 0.0, 1.0)[..., None]
    return out, shift + torch.log(total)


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    _require(o_CBHqD.dim() == 4 and o_CBHqD.shape[0] >= 1, f"o has shape {tuple(o_CBHqD.shape)}")
    _require(lse_CBHq.shape == o_CBHqD.shape[:3], f"lse has shape {tuple(lse_CBHq.shape)}")
    half = o_CBHqD.dtype != torch.float32 or lse_CBHq.dtype != torch.float32
    _require(not half, "both must be float32")
    return _merge(o_CBHqD, lse_CBHq)


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
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])
    _require(n_splits >= 1, f"n_splits must be at least 1, got {n_splits}")
    factor = _scale(scale, q_BHqD.shape[2])
    if _by_kernel(q_BHqD):
        caches, parts = (k_PNHD, v_PNHD), min(n_splits, MOST_SPLITS)
        return split_kv_decode_on_device(
            q_BHqD, caches, table_BL, lengths_B, scale=factor, parts=parts
        )
    out = torch.zeros_like(q_BHqD, memory_format=torch.contiguous_format)
    lse = torch.zeros(q_BHqD.shape[:2], device=q_BHqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        cuts = [length * c // n_splits for c in range(n_splits + 1)]
        got = _decode_one(q_BHqD[b], (k_PNHD, v_PNHD), table_BL[b], cuts, factor)
        out[b], lse[b] = got
    return out, lse


class _Entry:
    """What a block holds; its identity stands for everything before it, too."""

    __slots__ = ("block", "hash", "parent", "tokens")

    def __init__(
        self, block: int, hash_: int, tokens: tuple[int, ...], parent: "_Entry | None"
    ) -> None:
        self.block, self.hash, self.tokens, self.parent = block, hash_, tokens, parent


class PrefixCache:
    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        _require(n_blocks >= 1 and block_size >= 1, "sizes must be at least 1")
        self._size, self._hash = block_size, hash_fn
        self._counts = [0] * n_blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(n_blocks))
        self._by_hash: dict[int, _Entry] = {}
        self._by_block: dict[int, _Entry] = {}

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _full_blocks(self, tokens: list[int]) -> list[tuple[int, tuple[int, ...]]]:
        """Return hash and tokens of each full block."""
        found, parent = [], 0
        for start in range(0, len(tokens) - self._size + 1, self._size):
            chunk = tuple(tokens[start : start + self._size])
            parent = self._hash(parent, chunk)
            found.append((parent, chunk))
        return found

    def _hits(self, full: list[tuple[int, tuple[int, ...]]], most: int) -> list[_Entry]:
        hits: list[_Entry] = []
        for hash_, chunk in full[:most]:
            entry = self._by_hash.get(hash_)
            before = hits[-1] if hits else None
            if entry is None or entry.tokens != chunk or entry.parent is not before:
                break
            hits.append(entry)
        return hits

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        _require(len(tokens) >= 1, "the prompt is empty")
        full = self._full_blocks(tokens)
        hits = self._hits(full, (len(tokens) - 1) // self._size)
        fresh = _blocks_for(len(tokens), self._size) - len(hits)
        if fresh > len(self._free) - sum(self._counts[entry.block] == 0 for entry in hits):
            raise RuntimeError(f"{fresh} blocks wanted, too few free")
        for entry in hits:
            self._free.pop(entry.block, None)
            self._counts[entry.block] += 1
        blocks = [entry.block for entry in hits]
        parent = hits[-1] if hits else None
        for index in range(len(hits), len(hits) + fresh):
            block = self._take()
            blocks.append(block)
            if index < len(full):
                parent = self._enter(_Entry(block, *full[index], parent))
        return blocks, len(hits) * self._size

    def _take(self) -> int:
        block, _ = self._free.popitem(last=False)
        self._counts[block] = 1
        old = self._by_block.pop(block, None)
        if old is not None:
            del self._by_hash[old.hash]
        return block

    def _enter(self, entry: _Entry) -> _Entry:
        replaced = self._by_hash.get(entry.hash)
        if replaced is not None:
            if replaced.tokens == entry.tokens and replaced.parent is entry.parent:
                return replaced
            del self._by_block[replaced.block]
        self._by_hash[entry.hash] = self._by_block[entry.block] = entry
        return entry

    def release(self, blocks: list[int]) -> None:
        for block, times in Counter(blocks).items():
            _require(0 <= block < len(self._counts), f"there is no block {block}")
            _require(self._counts[block] >= times, f"block {block} is released too often")
        for block in reversed(blocks):
            self._counts[block] -= 1
            if self._counts[block] == 0:
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
        sizes = (n_blocks, block_size, n_kv_heads, head_dim)
        _require(min(sizes) >= 1, f"sizes must be at least 1, got {sizes}")
        self._kv = torch.empty((2, *sizes), dtype=dtype, device=device)
        self._blocks = _Blocks(n_blocks)
        self._tables: dict[int, list[int]] = {}
        self._lengths: dict[int, int] = {}
        self._created = 0

    @property
    def n_free(self) -> int:
        return self._blocks.n_free

    def _known(self, sequence: int) -> list[int]:
        _require(sequence in self._tables, f"there is no sequence {sequence}")
        return self._tables[sequence]

    def _begin(self, table: list[int], length: int) -> int:
        number = self._created
        self._created += 1
        self._tables[number], self._lengths[number] = table, length
        return number

    def create(self) -> int:
        return self._begin([], 0)

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        table = self._known(sequence)
        N, H, D = self._kv.shape[2:]
        for x in (k_THD, v_THD):
            _require(x.dim() == 3 and x.shape[1:] == (H, D), f"a shape of {tuple(x.shape)}")
            _require(x.dtype == self._kv.dtype, f"dtype {x.dtype}")
        _require(k_THD.shape == v_THD.shape, "k and v must have the same shape")
        start = self._lengths[sequence]
        end = start + k_THD.shape[0]
        if start == end:
            return
        copied = start % N > 0 and self._blocks.count(table[-1]) > 1
        fresh = self._blocks.allocate(_blocks_for(end, N) - len(table) + copied)
        if copied:
            own = fresh.pop(0)
            self._kv[:, own, : start % N] = self._kv[:, table[-1], : start % N]
            self._blocks.release([table[-1]])
            table[-1] = own
        table += fresh
        places = torch.arange(start, end)
        pages = torch.tensor(table)[places // N]
        self._kv[0][pages, places % N] = k_THD
        self._kv[1][pages, places % N] = v_THD
        self._lengths[sequence] = end

    def fork(self, sequence: int) -> int:
        table = self._known(sequence)
        for block in table:
            self._blocks.share(block)
        return self._begin(list(table), self._lengths[sequence])

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        table = torch.tensor(self._known(sequence), dtype=torch.int64)
        k, v = (x[table].flatten(0, 1)[: self._lengths[sequence]] for x in self._kv)
        return k, v

    def release(self, sequence: int) -> None:
        self._blocks.release(self._known(sequence))
        del self._tables[sequence], self._lengths[sequence]


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
    _require(
        starts_B1.dim() == 1 and starts_B1.dtype == torch.int64, "starts must be int64 [B + 1]"
    )
    _require(starts_B1.numel() >= 1, "starts must have an end")
    _require_paged(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=starts_B1.numel() - 1)
    starts = starts_B1.tolist()
    ends = starts[0] == 0 and starts[-1] == q_THqD.shape[0] and starts == sorted(starts)
    _require(ends, f"starts must rise from 0 to {q_THqD.shape[0]}")
    factor = _scale(scale, q_THqD.shape[2])
    if _by_kernel(q_THqD):
        chunks = starts_B1, max((b - a for a, b in itertools.pairwise(starts)), default=0)
        caches = (k_PNHD, v_PNHD)
        return paged_prefill_on_device(q_THqD, chunks, caches, table_BL, lengths_B, scale=factor)[0]
    out = torch.zeros_like(q_THqD, memory_format=torch.contiguous_format)
    for b, length in enumerate(lengths_B.tolist()):
        first, last = starts[b], starts[b + 1]
        seen = max(first, last - length)  # queries before this one see nothing
        if seen < last:
            k, v = (_tokens(x, table_BL[b], 0, length) for x in (k_PNHD, v_PNHD))
            out[seen:last] = _causal(q_THqD[seen:last], k, v, factor)
    return out


def _causal(q_THqD: Tensor, k_HSD: Tensor, v_HSD: Tensor, scale: float) -> Tensor:
    """Return attention of the last T <= S tokens, each over all up to itself."""
    (T, Hq, D), (H, S, _) = q_THqD.shape, k_HSD.shape
    q = q_THqD.float().transpose(0, 1).reshape(H, Hq // H * T, D)
    scores = ((q @ k_HSD.transpose(1, 2)) * scale).view(H, Hq // H, T, S)
    places = torch.arange(S, device=q.device)
    unseen = places > places[S - T :, None]
    weights = torch.softmax(scores.masked_fill(unseen, -math.inf), dim=-1)
    return (weights.view(H, -1, S) @ v_HSD).view(Hq, T, D).transpose(0, 1)


class _Request:
    __slots__ = ("blocks", "ended", "last", "number", "tokens")

    def __init__(self, number: int, prompt: list[int], max_new_tokens: int) -> None:
        self.number, self.tokens = number, list(prompt)
        self.last = len(prompt) + max_new_tokens
        self.blocks, self.ended = 0, False


class Scheduler:
    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        _require(min(n_blocks, block_size, max_running) >= 1, "sizes must be at least 1")
        self._total = self._free = n_blocks
        self._size, self._most, self._eos = block_size, max_running, eos_id
        self._requests: dict[int, _Request] = {}
        self._waiting: deque[_Request] = deque()
        self._running: list[_Request] = []  # oldest first
        self._uncommitted = False

    @property
    def n_free(self) -> int:
        return self._free

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        _require(request not in self._requests, f"request {request} is known")
        _require(len(prompt) >= 1 and max_new_tokens >= 1, "nothing to do")
        needed = _blocks_for(len(prompt) + max_new_tokens - 1, self._size)
        _require(needed <= self._total, f"{needed} blocks needed, there are {self._total}")
        self._requests[request] = _Request(request, prompt, max_new_tokens)
        self._waiting.append(self._requests[request])

    def _needed(self, one: _Request) -> int:
        return _blocks_for(len(one.tokens), self._size) - one.blocks

    def _move(self, one: _Request, blocks: int) -> None:
        one.blocks += blocks
        self._free -= blocks

    def step(self) -> dict[str, list[int]]:
        if self._uncommitted:
            raise RuntimeError("the last step has not been committed")
        preempted = self._make_room()
        decoded = [one.number for one in self._running]
        admitted = [] if preempted else self._admit()
        self._uncommitted = bool(self._running)
        return {"admitted": admitted, "decoded": decoded, "preempted": preempted}

    def _make_room(self) -> list[int]:
        """Give every running request the block it needs; return who had to go."""
        preempted: list[int] = []
        place = 0
        while place < len(self._running):
            one = self._running[place]
            while one.blocks and self._needed(one) > self._free:
                newest = self._running.pop()
                self._move(newest, -newest.blocks)
                self._waiting.appendleft(newest)
                preempted.append(newest.number)
            if one.blocks:
                self._move(one, self._needed(one))
            place += 1
        return preempted

    def _admit(self) -> list[int]:
        admitted: list[int] = []
        while self._waiting and len(self._running) < self._most:
            if self._needed(self._waiting[0]) > self._free:
                break
            one = self._waiting.popleft()
            self._move(one, self._needed(one))
            self._running.append(one)
            admitted.append(one.number)
        return admitted

    def commit(self, tokens: list[list[int]]) -> list[int]:
        new = {number: token for number, token in tokens}
        same = len(new) == len(tokens) and new.keys() == {one.number for one in self._running}
        _require(same and self._uncommitted == bool(new), "not the requests of the last step")
        self._uncommitted = False
        ended: list[_Request] = []
        for one in self._running:
            one.tokens.append(new[one.number])
            if new[one.number] == self._eos or len(one.tokens) == one.last:
                self._move(one, -one.blocks)
                one.ended = True
                ended.append(one)
        self._running = [one for one in self._running if not one.ended]
        return [one.number for one in ended]

    def tokens(self, request: int) -> list[int]:
        _require(request in self._requests, f"there is no request {request}")
        return list(self._requests[request].tokens)
