"""Paged attention with subclasses: one pool of counted blocks below three problems, one attention below three."""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from harness import PagePool

Tensor = torch.Tensor


class _Counted:
    """Counted blocks and a queue of free ones; subclasses say what happens when one is taken."""

    def __init__(self, n_blocks: int) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        self.holders = [0] * n_blocks
        self.queue: OrderedDict[int, None] = OrderedDict.fromkeys(range(n_blocks))

    def exists(self, block: int) -> bool:
        return 0 <= block < len(self.holders)

    def on_take(self, block: int) -> None:
        """Called for a block that has just left the queue for new content."""

    def take(self) -> int:
        block, _ = self.queue.popitem(last=False)
        self.holders[block] = 1
        self.on_take(block)
        return block

    def hold(self, block: int) -> None:
        if self.holders[block] == 0:
            del self.queue[block]
        self.holders[block] += 1

    def drop(self, block: int) -> None:
        self.holders[block] -= 1
        if self.holders[block] == 0:
            self.queue[block] = None

    def check_drop(self, blocks: list[int]) -> None:
        for block, times in Counter(blocks).items():
            if not self.exists(block) or times > self.holders[block]:
                raise ValueError(f"block {block} has not {times} holders")


class BlockAllocator(_Counted):
    @property
    def n_free(self) -> int:
        return len(self.queue)

    def count(self, block: int) -> int:
        if not self.exists(block):
            raise ValueError(f"no block {block}")
        return self.holders[block]

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError("count is negative")
        if count > len(self.queue):
            raise RuntimeError("too few free blocks")
        return [self.take() for _ in range(count)]

    def share(self, block: int) -> None:
        if not self.exists(block) or self.holders[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.hold(block)

    def release(self, blocks: list[int]) -> None:
        self.check_drop(blocks)
        for block in blocks:
            self.drop(block)


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    targets = (pool.k_PNHD, pool.v_PNHD)
    p, n, h, d = targets[0].shape
    if slots_T.dim() != 1 or slots_T.dtype != torch.int64:
        raise ValueError("slots must be [T], int64")
    t = slots_T.numel()
    for source, target in zip((k_THD, v_THD), targets):
        if tuple(source.shape) != (t, h, d) or source.dtype != target.dtype:
            raise ValueError("k and v must be [T, H, D] with the dtype of the pool")
    in_order = slots_T.sort()
    slots, tokens = in_order.values, in_order.indices
    if t and not (-1 <= int(slots[0]) and int(slots[-1]) < p * n):
        raise ValueError("no such slot")
    begin = int(torch.searchsorted(slots, 0))
    slots, tokens = slots[begin:], tokens[begin:]
    if bool((slots.diff() == 0).any()):
        raise ValueError("two tokens have the same slot")
    for source, target in zip((k_THD, v_THD), targets):
        target.index_put_((slots // n, slots % n), source[tokens])


class _Attention:
    """Checks the arguments and walks over sequences; subclasses do the sums."""

    def __init__(self, q, k, v, table, lengths, scale) -> None:
        self.q, self.k, self.v = q, k, v
        self.check_tensors(q, k, v, table, lengths)
        self.lengths = lengths.tolist()
        n = k.shape[1]
        self.tables = [row[: (size + n - 1) // n] for row, size in zip(table.tolist(), self.lengths)]
        if any(not 0 <= size <= table.shape[1] * n for size in self.lengths):
            raise ValueError("a length is out of range")
        if any(not 0 <= page < k.shape[0] for row in self.tables for page in row):
            raise ValueError("a page is out of range")
        self.check_queries()
        self.scale = 1 / math.sqrt(q.shape[2]) if scale is None else scale

    @staticmethod
    def check_tensors(q, k, v, table, lengths) -> None:
        if q.dim() != 3 or k.dim() != 4 or table.dim() != 2 or lengths.dim() != 1:
            raise ValueError("wrong rank")
        if q.dtype not in (torch.float32, torch.float16) or k.dtype != q.dtype or v.dtype != q.dtype:
            raise ValueError("wrong dtype")
        if table.dtype != torch.int64 or lengths.dtype != torch.int64:
            raise ValueError("wrong dtype of the table or the lengths")
        if k.shape != v.shape or k.shape[3] != q.shape[2] or len(table) != len(lengths):
            raise ValueError("wrong size")
        if min(k.shape[1:3]) < 1 or q.shape[1] % k.shape[2] != 0:
            raise ValueError("wrong number of heads")

    def check_queries(self) -> None:
        if len(self.q) != len(self.lengths):
            raise ValueError("one query per sequence")

    def rows(self, pages: Tensor, b: int, first: int, last: int) -> Tensor:
        """Tokens first … last - 1, [S, H, D], float32."""
        n = pages.shape[1]
        slots = torch.tensor(
            [self.tables[b][t // n] * n + t % n for t in range(first, last)], device=pages.device
        )
        return pages[slots // n, slots % n].float()

    def one(self, b: int, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Attention of query b over some tokens, a key/value head at a time; o [Hq, D], lse [Hq]."""
        k, v = self.rows(self.k, b, first, last), self.rows(self.v, b, first, last)
        outs, lses = [], []
        for h, q in enumerate(self.q[b].float().chunk(k.shape[1])):
            s = torch.addmm(q.new_zeros(()), q, k[:, h].T, beta=0, alpha=self.scale)
            lses.append(s.logsumexp(1))
            outs.append(torch.mm((s - lses[-1][:, None]).exp(), v[:, h]))
        return torch.cat(outs), torch.cat(lses)


class _Decode(_Attention):
    def run(self) -> Tensor:
        out = torch.zeros(self.q.shape, dtype=self.q.dtype, device=self.q.device)
        for b, length in enumerate(self.lengths):
            if length:
                out[b] = self.one(b, 0, length)[0].to(out.dtype)
        return out


class _Split(_Attention):
    def run(self, n_splits: int) -> tuple[Tensor, Tensor]:
        out = torch.zeros(self.q.shape, dtype=self.q.dtype, device=self.q.device)
        lse = torch.full(self.q.shape[:2], -math.inf, device=self.q.device)
        for b, length in enumerate(self.lengths):
            step = -(-length // n_splits)
            firsts = range(0, length, step) if length else ()
            parts = [self.one(b, first, min(first + step, length)) for first in firsts]
            if parts:
                o_C, lse_C = (torch.stack(x).unsqueeze(1) for x in zip(*parts))
                o, whole = merge_splits(o_C, lse_C)
                out[b], lse[b] = o[0].to(out.dtype), whole[0]
        return out, lse


class _Prefill(_Attention):
    def __init__(self, q, starts, *rest) -> None:
        self.starts = starts
        super().__init__(q, *rest)

    def check_queries(self) -> None:
        if self.starts.dim() != 1 or self.starts.dtype != torch.int64:
            raise ValueError("starts must be of rank 1, int64")
        self.begin = self.starts.tolist()
        if len(self.begin) != len(self.lengths) + 1:
            raise ValueError("starts must be B + 1 numbers")
        if self.begin[0] != 0 or self.begin[-1] != len(self.q) or self.begin != sorted(self.begin):
            raise ValueError("starts must go from 0 to T and never fall")

    def run(self) -> Tensor:
        out = torch.zeros(self.q.shape, dtype=self.q.dtype, device=self.q.device)
        n_heads = self.k.shape[2]
        group = self.q.shape[1] // n_heads
        for b, length in enumerate(self.lengths):
            n_new = self.begin[b + 1] - self.begin[b]
            if not n_new or not length:
                continue
            k, v = self.rows(self.k, b, 0, length), self.rows(self.v, b, 0, length)
            position = torch.arange(length - n_new, length, device=k.device)
            sees = torch.arange(length, device=k.device)[None] <= position[:, None]
            for head in range(self.q.shape[1]):
                q = self.q[self.begin[b] : self.begin[b + 1], head].float()
                s = q @ k[:, head // group].T * self.scale
                top = s.masked_fill(~sees, -math.inf).amax(1, keepdim=True)
                w = torch.where(sees, (s - torch.where(top > -math.inf, top, 0.0)).exp(), 0.0)
                total = w.sum(1, keepdim=True)
                o = w @ v[:, head // group] / torch.where(total > 0, total, 1.0)
                out[self.begin[b] : self.begin[b + 1], head] = o.to(out.dtype)
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
    return _Decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale).run()


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    if o_CBHqD.dim() != 4 or o_CBHqD.shape[:3] != lse_CBHq.shape or not len(o_CBHqD):
        raise ValueError("wrong rank or size")
    if not o_CBHqD.dtype == lse_CBHq.dtype == torch.float32:
        raise ValueError("wrong dtype")
    top, _ = lse_CBHq.max(0)
    some = top > -math.inf
    shifted = lse_CBHq - torch.where(some, top, torch.zeros_like(top))
    weights = shifted.exp()
    total = weights.sum(0)
    lse = torch.where(some, top + total.log(), torch.full_like(top, -math.inf))
    share = weights / torch.where(some, total, torch.ones_like(total))
    filled = o_CBHqD.clone()
    filled[lse_CBHq == -math.inf] = 0
    return (share[..., None] * filled).sum(0), lse


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
    attention = _Split(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale)
    if n_splits < 1:
        raise ValueError("n_splits must be at least 1")
    return attention.run(n_splits)


class _Entry:
    def __init__(self, value: int, tokens: tuple[int, ...], behind: "_Entry | None", block: int):
        self.value, self.tokens, self.behind, self.block = value, tokens, behind, block

    def same(self, tokens: tuple[int, ...], behind: "_Entry | None") -> bool:
        return self.tokens == tokens and self.behind is behind


class PrefixCache(_Counted):
    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        super().__init__(n_blocks)
        if block_size < 1:
            raise ValueError("block_size must be at least 1")
        self._size, self._hash = block_size, hash_fn
        self._entries: dict[int, _Entry] = {}
        self._of: dict[int, _Entry] = {}
        self._stays: _Entry | None = None

    @property
    def n_free(self) -> int:
        return len(self.queue)

    def on_take(self, block: int) -> None:
        entry = self._of.get(block)
        if entry is not None and entry is not self._stays:
            self._end(entry)

    def _end(self, entry: _Entry) -> None:
        del self._entries[entry.value], self._of[entry.block]

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        if len(tokens) == 0:
            raise ValueError("the prompt is empty")
        size = self._size
        last_full = len(tokens) // size
        keys: list[tuple[int, tuple[int, ...]]] = []
        path: list[_Entry] = []
        value = 0
        for i in range(last_full):
            chunk = tuple(tokens[i * size : (i + 1) * size])
            value = self._hash(value, chunk)
            keys.append((value, chunk))
            entry = self._entries.get(value)
            if len(path) == i and entry and entry.same(chunk, path[-1] if path else None):
                path.append(entry)
        # The last token is computed in any case: the block that it ends does not hit.
        known_whole = len(path) * size == len(tokens)
        self._stays = path.pop() if known_whole else None
        n_new = -(-len(tokens) // size) - len(path)
        if len(self.queue) - sum(not self.holders[entry.block] for entry in path) < n_new:
            raise RuntimeError("too few blocks")
        for entry in path:
            self.hold(entry.block)
        new = [self.take() for _ in range(n_new)]
        if not known_whole:
            behind = path[-1] if path else None
            for block, (value, chunk) in zip(new, keys[len(path) :]):
                if value in self._entries:
                    self._end(self._entries[value])
                behind = _Entry(value, chunk, behind, block)
                self._entries[value] = self._of[block] = behind
        return [entry.block for entry in path] + new, len(path) * size

    def release(self, blocks: list[int]) -> None:
        self.check_drop(blocks)
        for block in reversed(blocks):
            self.drop(block)


class ForkingCache(_Counted):
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
        super().__init__(n_blocks)
        if block_size < 1 or n_kv_heads < 1 or head_dim < 1:
            raise ValueError("sizes must be at least 1")
        self._n = block_size
        shape = (n_blocks, block_size, n_kv_heads, head_dim)
        self._pools = [torch.zeros(shape, dtype=dtype, device=device) for _ in "kv"]
        self._tables: dict[int, list[int]] = {}
        self._sizes: dict[int, int] = {}
        self._born = 0

    @property
    def n_free(self) -> int:
        return len(self.queue)

    def _must_exist(self, sequence: int) -> None:
        if sequence not in self._tables:
            raise ValueError(f"no sequence {sequence}")

    def create(self) -> int:
        self._tables[self._born], self._sizes[self._born] = [], 0
        self._born += 1
        return self._born - 1

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        self._must_exist(sequence)
        for x, pool in zip((k_THD, v_THD), self._pools):
            if x.dim() != 3 or x.shape[1:] != pool.shape[2:] or x.dtype != pool.dtype:
                raise ValueError("tokens must be [T, H, D] with the cache's dtype")
        if k_THD.shape != v_THD.shape:
            raise ValueError("as many keys as values")
        table, size, t = self._tables[sequence], self._sizes[sequence], k_THD.shape[0]
        total = -(-(size + t) // self._n)
        keep = len(table)
        if t and size % self._n and self.holders[table[-1]] > 1:
            keep -= 1
        if total - keep > len(self.queue):
            raise RuntimeError("too few free blocks")
        replaced = table[keep:]
        table[keep:] = [self.take() for _ in range(total - keep)]
        for old in replaced:
            for pool in self._pools:
                pool[table[keep]] = pool[old]
            self.drop(old)
        for at in range(t):
            page, row = divmod(size + at, self._n)
            for x, pool in zip((k_THD, v_THD), self._pools):
                pool[table[page], row] = x[at]
        self._sizes[sequence] = size + t

    def fork(self, sequence: int) -> int:
        self._must_exist(sequence)
        child = self.create()
        self._tables[child] = self._tables[sequence].copy()
        self._sizes[child] = self._sizes[sequence]
        for block in self._tables[child]:
            self.hold(block)
        return child

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        self._must_exist(sequence)
        size = self._sizes[sequence]
        where = torch.tensor(self._tables[sequence], dtype=torch.int64, device=self._pools[0].device)
        k, v = (pool.index_select(0, where).flatten(0, 1)[:size] for pool in self._pools)
        return k, v

    def release(self, sequence: int) -> None:
        self._must_exist(sequence)
        for block in self._tables.pop(sequence):
            self.drop(block)
        self._sizes.pop(sequence)


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
    return _Prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, scale).run()


class _Request(list):
    """The tokens of a request, with what else is known about it."""

    def __init__(self, number: int, prompt: list[int], end: int) -> None:
        super().__init__(prompt)
        self.number, self.end = number, end
        self.blocks: list[int] = []


class Scheduler(_Counted):
    """Keeps real block numbers for its requests, as a server would."""

    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        super().__init__(n_blocks)
        if block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._size, self._most, self._eos = block_size, max_running, eos_id
        self._known: dict[int, _Request] = {}
        self._waiting: OrderedDict[int, _Request] = OrderedDict()
        self._running: OrderedDict[int, _Request] = OrderedDict()
        self._planned = False

    @property
    def n_free(self) -> int:
        return len(self.queue)

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._known or not len(prompt) or max_new_tokens < 1:
            raise ValueError("known number, empty prompt or no new tokens")
        if len(prompt) + max_new_tokens - 1 > len(self.holders) * self._size:
            raise ValueError("could not run alone to its end")
        new = _Request(request, prompt, len(prompt) + max_new_tokens)
        self._known[request] = self._waiting[request] = new

    def _missing(self, request: _Request) -> int:
        return -(-len(request) // self._size) - len(request.blocks)

    def _free(self, request: _Request) -> None:
        for block in request.blocks:
            self.drop(block)
        request.blocks = []

    def step(self) -> dict[str, list[int]]:
        if self._planned and self._running:
            raise RuntimeError("the last step has not been committed")
        preempted: list[int] = []
        for number, request in list(self._running.items()):
            while number in self._running and self._missing(request):
                if self.queue:
                    request.blocks.append(self.take())
                    continue
                newest, loser = self._running.popitem()
                self._free(loser)
                self._waiting[newest] = loser
                self._waiting.move_to_end(newest, last=False)
                preempted.append(newest)
        decoded = list(self._running)
        admitted: list[int] = []
        for number, request in [] if preempted else list(self._waiting.items()):
            if len(self._running) == self._most or self._missing(request) > len(self.queue):
                break
            request.blocks = [self.take() for _ in range(self._missing(request))]
            self._running[number] = self._waiting.pop(number)
            admitted.append(number)
        self._planned = True
        return {"admitted": admitted, "decoded": decoded, "preempted": preempted}

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if not self._planned or Counter(pair[0] for pair in tokens) != Counter(list(self._running)):
            raise ValueError("not the requests of the last step, or committed before")
        self._planned = False
        for number, token in tokens:
            self._running[number].append(token)
        ended = [n for n, r in self._running.items() if r[-1] == self._eos or len(r) == r.end]
        for number in ended:
            self._free(self._running.pop(number))
        return ended

    def tokens(self, request: int) -> list[int]:
        if request not in self._known:
            raise ValueError(f"no request {request}")
        return list(self._known[request])
