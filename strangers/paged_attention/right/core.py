"""Paged attention around one core: a generator of tiles with masks; decoding is a chunk of one."""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from harness import PagePool

Tensor = torch.Tensor


class BlockAllocator:
    """A block's place in the queue is a ticket; `first` is the next ticket to be served."""

    def __init__(self, n_blocks: int) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        self._block_of = {ticket: ticket for ticket in range(n_blocks)}
        self._first, self._next = 0, n_blocks
        self._counts = dict.fromkeys(range(n_blocks), 0)

    @property
    def n_free(self) -> int:
        return self._next - self._first

    def count(self, block: int) -> int:
        if block not in self._counts:
            raise ValueError("no such block")
        return self._counts[block]

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError("count is negative")
        if self._first + count > self._next:
            raise RuntimeError("too few free blocks")
        taken = [self._block_of.pop(t) for t in range(self._first, self._first + count)]
        self._first += count
        for block in taken:
            self._counts[block] = 1
        return taken

    def share(self, block: int) -> None:
        if self.count(block) == 0:
            raise ValueError("the block is free")
        self._counts[block] += 1

    def release(self, blocks: list[int]) -> None:
        named = Counter(blocks)
        if any(self.count(block) < times for block, times in named.items()):
            raise ValueError("a block is named more often than it has holders")
        for block in blocks:
            self._counts[block] -= 1
            if self._counts[block] == 0:
                self._block_of[self._next] = block
                self._next += 1


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    p, n, h, d = pool.k_PNHD.shape
    t = k_THD.shape[0] if k_THD.dim() == 3 else -1
    good = t >= 0 and k_THD.shape == v_THD.shape == (t, h, d) and slots_T.shape == (t,)
    good = good and k_THD.dtype == v_THD.dtype == pool.k_PNHD.dtype and slots_T.dtype == torch.int64
    if not good:
        raise ValueError("rank, size or dtype")
    keep = torch.where(slots_T != -1)[0]
    slots = slots_T[keep]
    if bool(((slots < 0) | (slots >= p * n)).any()):
        raise ValueError("no such slot")
    if len(slots) and int(torch.bincount(slots, minlength=1).max()) > 1:
        raise ValueError("a slot is named twice")
    for target, source in ((pool.k_PNHD, k_THD), (pool.v_PNHD, v_THD)):
        target[slots // n, slots % n] = source[keep]


def _check(q: Tensor, k: Tensor, v: Tensor, table: Tensor, lengths: Tensor, starts: Tensor) -> None:
    def need(ok: bool, what: str) -> None:
        if not ok:
            raise ValueError(what)

    need(q.dim() == 3, "q has rank 3")
    need(k.dim() == 4 and v.shape == k.shape, "k and v have rank 4 and one shape")
    need(table.dim() == 2 and lengths.dim() == 1 and starts.dim() == 1, "rank of table, lengths, starts")
    need(q.dtype in (torch.float32, torch.float16) and k.dtype == v.dtype == q.dtype, "dtype")
    need(table.dtype == lengths.dtype == starts.dtype == torch.int64, "int64 wanted")
    b, (p, n, h, d) = len(lengths), k.shape
    need(q.shape[2] == d and len(table) == b and len(starts) == b + 1, "size")
    need(n > 0 and h > 0 and q.shape[1] % h == 0, "Hq is a multiple of H")
    need(starts[0].item() == 0 and starts[-1].item() == len(q), "starts go from 0 to T")
    need(not bool((starts[1:] < starts[:-1]).any()), "starts never fall")
    for row, length in zip(table, lengths.tolist()):
        need(0 <= length <= len(row) * n, "length")
        used = row[: -(-length // n)]
        need(not bool(((used < 0) | (used >= p)).any()), "page number")


def _tiles(x: Tensor, row: Tensor, first: int, last: int, tile: int) -> Iterator[Tensor]:
    """Yield tokens first … last - 1 of a sequence in tiles, [S, H, D]."""
    n = x.shape[1]
    for a in range(first, last, tile):
        t = torch.arange(a, min(a + tile, last), device=x.device)
        yield x[row[t // n], t % n]


def _core(
    q_THqD: Tensor, k: Tensor, v: Tensor, row: Tensor, first: int, last: int, stand: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Attention of T queries that stand at `stand`, … over tokens first … last - 1.

    Returns o [T, Hq, D] float32 and lse [T, Hq].
    """
    t, hq, d = q_THqD.shape
    h = k.shape[2]
    q_HXD = q_THqD.float().reshape(t, h, hq // h, d).transpose(0, 1).reshape(h, -1, d) * scale
    place_X = torch.arange(stand, stand + t, device=q_HXD.device).repeat_interleave(hq // h)
    top = torch.full(q_HXD.shape[:2], -math.inf, device=q_HXD.device)
    total, acc = torch.zeros_like(top), torch.zeros_like(q_HXD)
    at, tile = first, 512
    for k_SHD, v_SHD in zip(_tiles(k, row, first, last, tile), _tiles(v, row, first, last, tile)):
        s = torch.bmm(q_HXD, k_SHD.float().permute(1, 2, 0))
        where = torch.arange(at, at + len(k_SHD), device=s.device)
        s.masked_fill_(where[None, :] > place_X[:, None], -math.inf)
        at += len(k_SHD)
        new = torch.maximum(top, s.amax(-1))
        base = new.masked_fill(new == -math.inf, 0.0)
        w = (s - base[..., None]).exp_()
        fade = (top - base).exp()
        total = total * fade + w.sum(-1)
        acc = torch.baddbmm(acc * fade[..., None], w, v_SHD.float().transpose(0, 1))
        top = new
    lse = top + total.log()
    acc = acc / total.masked_fill(total == 0, 1.0)[..., None]
    o = acc.reshape(h, t, hq // h, d).transpose(0, 1).reshape(t, hq, d)
    return o, lse.reshape(h, t, hq // h).transpose(0, 1).reshape(t, hq)


def _prefill(q, starts, k, v, table, lengths, scale) -> Tensor:
    scale = 1 / math.sqrt(q.shape[2]) if scale is None else scale
    out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    borders = starts.tolist()
    for b, length in enumerate(lengths.tolist()):
        one, two = borders[b : b + 2]
        if one < two and length:
            o, _ = _core(q[one:two], k, v, table[b], 0, length, length - (two - one), scale)
            out[one:two] = o.to(out.dtype)
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
    # Sequence b has one query, row b.
    rows = torch.arange(lengths_B.numel() + 1, device=q_BHqD.device)
    _check(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows)
    return _prefill(q_BHqD, rows, k_PNHD, v_PNHD, table_BL, lengths_B, scale)


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    if o_CBHqD.dim() != 4 or lse_CBHq.dim() != 3 or o_CBHqD.shape[:3] != lse_CBHq.shape:
        raise ValueError("rank or size")
    if o_CBHqD.shape[0] < 1:
        raise ValueError("no part")
    if o_CBHqD.dtype != torch.float32 or lse_CBHq.dtype != torch.float32:
        raise ValueError("dtype")
    # In double precision nothing of this range overflows when it is summed, only exp has to be careful.
    lse = lse_CBHq.double()
    base = lse.amax(0).clamp(min=-1e300)  # finite, so -inf minus it is -inf and no NaN
    weights = (lse - base).exp()
    total = weights.sum(0)
    o = o_CBHqD.double().masked_fill((lse == -math.inf).unsqueeze(-1), 0.0)
    mixed = (o * weights.unsqueeze(-1)).sum(0) / total.clamp(min=1.0).unsqueeze(-1)
    return mixed.float(), (total.log() + base).float()


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
        raise ValueError("n_splits is at least 1")
    _check(
        q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B,
        torch.arange(lengths_B.numel() + 1, device=q_BHqD.device),
    )
    scale = 1 / math.sqrt(q_BHqD.shape[2]) if scale is None else scale
    outs = torch.zeros(q_BHqD.shape, device=q_BHqD.device)
    lses = torch.full(q_BHqD.shape[:2], -math.inf, device=q_BHqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        if length == 0:
            continue
        step = math.ceil(length / n_splits)
        q = q_BHqD[b : b + 1]
        parts = [
            _core(q, k_PNHD, v_PNHD, table_BL[b], a, min(a + step, length), length - 1, scale)
            for a in range(0, length, step)
        ]
        o, lse = merge_splits(torch.stack([o for o, _ in parts]), torch.stack([l for _, l in parts]))
        outs[b], lses[b] = o[0], lse[0]
    return outs.to(q_BHqD.dtype), lses


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
        if len(chunks) - len(hits) > len(self._queue) - sum(not self._count[b] for b in hits):
            raise RuntimeError("too few blocks")
        for block in hits:
            self._queue.pop(block, None)
            self._count[block] += 1
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


class ForkingCache:
    """The sequences that hold a block are kept as a set: who is alone in it writes in place."""

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
        self._kv = torch.zeros(2, n_blocks, block_size, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._free = list(range(n_blocks))[::-1]
        self._who: dict[int, set[int]] = {}
        self._tables: dict[int, list[int]] = {}
        self._size: dict[int, int] = {}
        self._last = -1

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _table(self, sequence: int) -> list[int]:
        if sequence not in self._tables:
            raise ValueError("no such sequence")
        return self._tables[sequence]

    def create(self) -> int:
        self._last += 1
        self._tables[self._last] = []
        self._size[self._last] = 0
        return self._last

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        table = self._table(sequence)
        _, _, n, h, d = self._kv.shape
        if k_THD.dim() != 3 or k_THD.shape != (k_THD.shape[0], h, d) or v_THD.shape != k_THD.shape:
            raise ValueError("rank or size")
        if not k_THD.dtype == v_THD.dtype == self._kv.dtype:
            raise ValueError("dtype")
        size = self._size[sequence]
        end = size + len(k_THD)
        # Pages that are written to, and those of them that are not there or not ours alone.
        pages = list(range(size // n, -(-end // n))) if end > size else []
        needed = [i for i in pages if i >= len(table) or len(self._who[table[i]]) > 1]
        if len(needed) > len(self._free):
            raise RuntimeError("too few free blocks")
        for i in needed:
            new = self._free.pop()
            self._who[new] = {sequence}
            if i < len(table):
                self._kv[:, new, : size % n] = self._kv[:, table[i], : size % n]
                self._who[table[i]].remove(sequence)
                table[i] = new
            else:
                table.append(new)
        for i in pages:
            a, b = max(size, i * n), min(end, i * n + n)
            self._kv[0, table[i], a - i * n : b - i * n] = k_THD[a - size : b - size]
            self._kv[1, table[i], a - i * n : b - i * n] = v_THD[a - size : b - size]
        self._size[sequence] = end

    def fork(self, sequence: int) -> int:
        table = self._table(sequence)
        child = self.create()
        self._tables[child] += table
        self._size[child] = self._size[sequence]
        for block in table:
            self._who[block].add(child)
        return child

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        table = torch.tensor(self._table(sequence), dtype=torch.int64, device=self._kv.device)
        k, v = self._kv[:, table].flatten(1, 2)[:, : self._size[sequence]]
        return k.clone(), v.clone()

    def release(self, sequence: int) -> None:
        for block in self._table(sequence):
            self._who[block].discard(sequence)
            if not self._who[block]:
                del self._who[block]
                self._free.append(block)
        del self._tables[sequence], self._size[sequence]


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
    _check(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B, starts_B1)
    return _prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, scale)


class Scheduler:
    """One list of requests in the order of `add`; each has a state."""

    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if n_blocks < 1 or block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks, self._n = n_blocks, block_size
        self._max_running, self._eos_id = max_running, eos_id
        self._all: dict[int, dict] = {}
        self._step: list[int] | None = None

    def _in(self, state: str) -> list[int]:
        return [number for number, r in self._all.items() if r["state"] == state]

    @property
    def n_free(self) -> int:
        return self._n_blocks - sum(r["blocks"] for r in self._all.values())

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._all or len(prompt) == 0 or max_new_tokens < 1:
            raise ValueError("known number, empty prompt or no new tokens")
        if -(-(len(prompt) + max_new_tokens - 1) // self._n) > self._n_blocks:
            raise ValueError("could not run alone to its end")
        self._all[request] = {
            "tokens": list(prompt), "left": max_new_tokens, "state": "waits", "blocks": 0,
        }

    def step(self) -> dict[str, list[int]]:
        if self._step:
            raise RuntimeError("the last step has not been committed")
        need = {number: -(-len(r["tokens"]) // self._n) for number, r in self._all.items()}
        preempted: list[int] = []
        for number in self._in("runs"):
            mine = self._all[number]
            while mine["state"] == "runs" and mine["blocks"] < need[number]:
                if self.n_free > 0:
                    mine["blocks"] += 1
                else:
                    preempted.append(self._in("runs")[-1])
                    self._all[preempted[-1]].update(state="waits", blocks=0)
        decoded = self._in("runs")
        admitted: list[int] = []
        # Who was preempted is older than all that wait, the oldest of them last: order of `add`.
        for number in [] if preempted else self._in("waits"):
            if len(decoded) + len(admitted) == self._max_running or need[number] > self.n_free:
                break
            self._all[number].update(state="runs", blocks=need[number])
            admitted.append(number)
        self._step = decoded + admitted
        return {"admitted": admitted, "decoded": list(decoded), "preempted": preempted}

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if self._step is None or sorted(pair[0] for pair in tokens) != sorted(self._step):
            raise ValueError("not the requests of the last step")
        ended = []
        new = dict((number, token) for number, token in tokens)
        for number in self._step:
            mine = self._all[number]
            mine["tokens"].append(new[number])
            mine["left"] -= 1
            if new[number] == self._eos_id or mine["left"] == 0:
                mine.update(state="ended", blocks=0)
                ended.append(number)
        self._step = None
        return ended

    def tokens(self, request: int) -> list[int]:
        if request not in self._all:
            raise ValueError("no such request")
        return list(self._all[request]["tokens"])
