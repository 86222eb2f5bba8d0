"""Paged attention, lazily: stale queue entries are skipped later, checks come last, cat of views."""

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from harness import PagePool

Tensor = torch.Tensor


class BlockAllocator:
    """Blocks that were never used are not even listed: `fresh` is the first of them."""

    def __init__(self, n_blocks: int) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        self._n = n_blocks
        self._fresh = 0
        self._returned: deque[int] = deque()
        self._count: defaultdict[int, int] = defaultdict(int)

    @property
    def n_free(self) -> int:
        return self._n - self._fresh + len(self._returned)

    def count(self, block: int) -> int:
        if 0 <= block < self._n:
            return self._count[block]
        raise ValueError(f"no block {block}")

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError("count is negative")
        if count > self.n_free:
            raise RuntimeError("too few free blocks")
        # Fresh ones stand in front: what comes back goes to the end.
        new = min(count, self._n - self._fresh)
        taken = list(range(self._fresh, self._fresh + new))
        self._fresh += new
        taken += [self._returned.popleft() for _ in range(count - new)]
        for block in taken:
            self._count[block] = 1
        return taken

    def share(self, block: int) -> None:
        if not self.count(block):
            raise ValueError("the block is free")
        self._count[block] += 1

    def release(self, blocks: list[int]) -> None:
        done = []
        try:
            for block in blocks:
                if not self.count(block):
                    raise ValueError(f"block {block} has no holder left")
                self._count[block] -= 1
                done.append(block)
        except ValueError:
            for block in done:
                self._count[block] += 1
            raise
        # The queue: in order of the last mention of each block that has become free.
        last = {block: i for i, block in enumerate(blocks)}
        for i, block in enumerate(blocks):
            if last[block] == i and self._count[block] == 0:
                self._returned.append(block)


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    p, n, h, d = pool.k_PNHD.shape
    if slots_T.dim() != 1 or slots_T.dtype != torch.int64:
        raise ValueError("slots must be [T], int64")
    for x in (k_THD, v_THD):
        if x.shape != (slots_T.shape[0], h, d) or x.dtype != pool.k_PNHD.dtype:
            raise ValueError("k and v must be [T, H, D] with the dtype of the pool")
    token_of = torch.full((p * n + 1,), -1, dtype=torch.int64, device=slots_T.device)
    if bool(((slots_T + 1).clamp(0, p * n) != slots_T + 1).any()):
        raise ValueError("a slot is below -1 or too large")
    tokens = torch.arange(slots_T.shape[0], device=slots_T.device)
    token_of[slots_T] = tokens  # slot -1 is the last element, of no interest
    kept = slots_T >= 0
    if bool((token_of[slots_T[kept]] != tokens[kept]).any()):
        raise ValueError("two tokens have the same slot")
    token_PN = token_of[:-1].view(p, n)
    for page in (token_PN >= 0).any(1).nonzero().flatten().tolist():
        rows = (token_PN[page] >= 0).nonzero().flatten()
        pool.k_PNHD[page, rows] = k_THD[token_PN[page, rows]]
        pool.v_PNHD[page, rows] = v_THD[token_PN[page, rows]]


class _Lazy:
    """Arguments of an attention; `check` says what does not fit, `read` gathers a piece."""

    def __init__(self, q, k, v, table, lengths, scale):
        self.q, self.k, self.v, self.table, self.lengths = q, k, v, table, lengths
        self.scale = scale

    def check(self) -> None:
        q, k, v, table, lengths = self.q, self.k, self.v, self.table, self.lengths
        problem = ""
        if not (q.dim() == 3 and k.dim() == v.dim() == 4 and table.dim() == 2 and lengths.dim() == 1):
            problem = "rank"
        elif q.dtype not in (torch.float32, torch.float16) or q.dtype != k.dtype or q.dtype != v.dtype:
            problem = "dtype of q, k or v"
        elif table.dtype != torch.int64 or lengths.dtype != torch.int64:
            problem = "dtype of table or lengths"
        elif k.shape != v.shape or q.shape[2] != k.shape[3] or len(table) != len(lengths):
            problem = "size"
        elif 0 in k.shape[1:3] or q.shape[1] % k.shape[2]:
            problem = "number of heads, or size of a page"
        if problem:
            raise ValueError("wrong " + problem)
        n = k.shape[1]
        self.n = n
        self.sizes = lengths.tolist()
        self.rows = []
        for row, length in zip(table, self.sizes):
            if not 0 <= length <= n * len(row):
                raise ValueError("wrong length")
            self.rows.append([int(page) for page in row[: (length + n - 1) // n]])
            for page in self.rows[-1]:
                if not 0 <= page < len(k):
                    raise ValueError("wrong page")
        if self.scale is None:
            self.scale = q.shape[2] ** -0.5

    def read(self, pages: Tensor, b: int, first: int, last: int) -> Tensor:
        """Tokens first … last - 1 of sequence b, [H, S, D] and float32."""
        n, out = self.n, []
        for i in range(first // n, (last - 1) // n + 1):
            out.append(pages[self.rows[b][i], max(first - i * n, 0) : min(last - i * n, n)])
        return torch.cat(out).to(torch.float32).permute(1, 0, 2)


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    args = _Lazy(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale)
    args.check()
    if len(q_BHqD) != len(lengths_B):
        raise ValueError("one query per sequence")
    h = k_PNHD.shape[2]
    result = []
    for b, length in enumerate(args.sizes):
        if not length:
            result.append(torch.zeros(q_BHqD.shape[1:], dtype=q_BHqD.dtype, device=q_BHqD.device))
            continue
        q_HGD = q_BHqD[b].to(torch.float32).unflatten(0, (h, -1))
        s = q_HGD.matmul(args.read(k_PNHD, b, 0, length).mT).mul(args.scale)
        s = s.sub(s.amax(-1, keepdim=True)).exp()
        o = s.matmul(args.read(v_PNHD, b, 0, length)).div(s.sum(-1, keepdim=True))
        result.append(o.flatten(0, 1).to(q_BHqD.dtype))
    return torch.stack(result) if result else q_BHqD.clone()


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    if o_CBHqD.dim() != 4 or lse_CBHq.dim() != 3 or lse_CBHq.shape != o_CBHqD.shape[:3]:
        raise ValueError("wrong rank or size")
    if o_CBHqD.dtype != torch.float32 or lse_CBHq.dtype != torch.float32:
        raise ValueError("wrong dtype")
    if o_CBHqD.shape[0] == 0:
        raise ValueError("no part")
    lse = torch.logsumexp(lse_CBHq, 0)
    out = torch.zeros(o_CBHqD.shape[1:], device=o_CBHqD.device)
    for o, part in zip(o_CBHqD, lse_CBHq):
        share = (part - lse).exp_()
        out += torch.where(part.isneginf()[..., None], 0.0, o * share[..., None])
    return out, lse


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
    args = _Lazy(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale)
    args.check()
    if len(q_BHqD) != len(lengths_B) or n_splits < 1:
        raise ValueError("one query per sequence, and at least one part")
    b, hq, d = q_BHqD.shape
    h = k_PNHD.shape[2]
    device = q_BHqD.device
    c = min(n_splits, max(args.sizes, default=1) or 1)
    o_CBHqD = torch.full((c, b, hq, d), math.nan, device=device)
    lse_CBHq = torch.full((c, b, hq), -math.inf, device=device)
    for i, length in enumerate(args.sizes):
        q_HGD = q_BHqD[i].to(torch.float32).unflatten(0, (h, -1))
        cuts = [length * j // c for j in range(c + 1)] if c == n_splits else [
            min(j, length) for j in range(c + 1)
        ]
        for j, (first, last) in enumerate(pairwise(cuts)):
            if first == last:
                continue
            s = q_HGD.matmul(args.read(k_PNHD, i, first, last).mT).mul(args.scale)
            top = s.amax(-1, keepdim=True)
            s = s.sub(top).exp()
            total = s.sum(-1, keepdim=True)
            o = s.matmul(args.read(v_PNHD, i, first, last)).div(total)
            o_CBHqD[j, i] = o.flatten(0, 1)
            lse_CBHq[j, i] = (top + total.log()).flatten()
    o, lse = merge_splits(o_CBHqD, lse_CBHq)
    return o.to(q_BHqD.dtype), lse


class PrefixCache:
    """The queue is a heap of (time of joining, block); who left it early is skipped later."""

    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        if n_blocks < 1 or block_size < 1:
            raise ValueError("sizes must be at least 1")
        self._n, self._size, self._hash = n_blocks, block_size, hash_fn
        self._heap = [(i, i) for i in range(n_blocks)]
        self._joined = list(range(n_blocks))  # when block i joined the queue, -1 if it is held
        self._clock = n_blocks
        self._n_free = n_blocks
        self._holders = [0] * n_blocks
        self._entries: dict[int, tuple] = {}  # hash -> (tokens, entry behind, block, serial)
        self._hash_of: dict[int, int] = {}

    @property
    def n_free(self) -> int:
        return self._n_free

    def _hold(self, block: int) -> None:
        if self._holders[block] == 0:
            self._joined[block] = -1
            self._n_free -= 1
        self._holders[block] += 1

    def _pop(self) -> int:
        while True:
            time, block = heapq.heappop(self._heap)
            if self._joined[block] == time:
                return block

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        if not tokens:
            raise ValueError("the prompt is empty")
        n, size = len(tokens), self._size
        chunks = (tuple(tokens[i : i + size]) for i in range(0, n // size * size, size))
        keyed: list[tuple[int, tuple[int, ...]]] = []
        for chunk in chunks:
            keyed.append((self._hash(keyed[-1][0] if keyed else 0, chunk), chunk))
        hits: list[int] = []
        serial = 0
        for value, chunk in keyed:
            known = self._entries.get(value)
            if len(hits) == (n - 1) // size or known is None or known[:2] != (chunk, serial):
                break
            hits.append(known[2])
            serial = known[3]
        new = (n + size - 1) // size - len(hits)
        if self._n_free - [self._holders[block] for block in hits].count(0) < new:
            raise RuntimeError("too few blocks")
        for block in hits:
            self._hold(block)
        blocks = hits[:]
        for i in range(len(hits), len(hits) + new):
            block = self._pop()
            self._hold(block)
            blocks.append(block)
            if i >= len(keyed):
                self._lose(block)
                continue
            value, chunk = keyed[i]
            known = self._entries.get(value)
            if known is not None and known[:2] == (chunk, serial):
                if known[2] != block:
                    self._lose(block)
                serial = known[3]
                continue
            self._lose(block)
            if value in self._entries:
                self._lose(self._entries[value][2])
            self._clock += 1
            self._entries[value] = (chunk, serial, block, self._clock)
            self._hash_of[block] = value
            serial = self._clock
        return blocks, len(hits) * size

    def _lose(self, block: int) -> None:
        value = self._hash_of.pop(block, None)
        if value is not None:
            del self._entries[value]

    def release(self, blocks: list[int]) -> None:
        wanted: defaultdict[int, int] = defaultdict(int)
        for block in blocks:
            wanted[block] += 1
            if not 0 <= block < self._n or wanted[block] > self._holders[block]:
                raise ValueError(f"block {block} is not held so often")
        for block in blocks[::-1]:
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._clock += 1
                self._joined[block] = self._clock
                self._n_free += 1
                heapq.heappush(self._heap, (self._clock, block))


class ForkingCache:
    """Nothing is stored where it is appended: full blocks are frozen tensors, the open one a list.

    Whoever appends to an open block that others hold copies the list first.
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
        if min(n_blocks, block_size, n_kv_heads, head_dim) < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks, self._n = n_blocks, block_size
        self._empty = torch.empty(2, 0, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._used = 0
        self._content: list[list[Tensor]] = []  # pieces [2, T, H, D] of block i
        self._rows: list[int] = []
        self._holders: list[int] = []
        self._spare: list[int] = []
        self._tables: dict[int, list[int]] = {}
        self._next = 0

    @property
    def n_free(self) -> int:
        return self._n_blocks - self._used

    def _get(self, sequence: int) -> list[int]:
        if sequence in self._tables:
            return self._tables[sequence]
        raise ValueError(f"no sequence {sequence}")

    def _block(self, pieces: list[Tensor], rows: int) -> int:
        self._used += 1
        if self._spare:
            block = self._spare.pop()
            self._content[block], self._rows[block], self._holders[block] = pieces, rows, 1
            return block
        self._content.append(pieces)
        self._rows.append(rows)
        self._holders.append(1)
        return len(self._content) - 1

    def _let_go(self, block: int) -> None:
        self._holders[block] -= 1
        if self._holders[block] == 0:
            self._content[block] = []
            self._spare.append(block)
            self._used -= 1

    def create(self) -> int:
        self._tables[self._next] = []
        self._next += 1
        return self._next - 1

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        table, n = self._get(sequence), self._n
        _, _, h, d = self._empty.shape
        if k_THD.dim() != 3 or k_THD.shape != v_THD.shape or k_THD.shape[1:] != (h, d):
            raise ValueError("both must be [T, H, D]")
        if k_THD.dtype != self._empty.dtype or v_THD.dtype != self._empty.dtype:
            raise ValueError("both must have the cache's dtype")
        t = k_THD.shape[0]
        if t == 0:
            return
        row = self._rows[table[-1]] % n if table else 0
        shared = row > 0 and self._holders[table[-1]] > 1
        first = min(t, (n - row) % n)  # tokens that go into the open block
        if shared + -(-(t - first) // n) > self.n_free:
            raise RuntimeError("too few free blocks")
        if shared:
            old = table[-1]
            table[-1] = self._block([torch.cat(self._content[old], 1)], row)
            self._let_go(old)
        if first:
            last = table[-1]
            self._content[last].append(torch.stack((k_THD[:first], v_THD[:first])))
            self._rows[last] += first
            if self._rows[last] == n:
                self._content[last] = [torch.cat(self._content[last], 1)]
        for at in range(first, t, n):
            stop = min(at + n, t)
            piece = torch.stack((k_THD[at:stop], v_THD[at:stop]))
            table.append(self._block([piece], stop - at))

    def fork(self, sequence: int) -> int:
        table = self._get(sequence)
        for block in table:
            self._holders[block] += 1
        number = self.create()
        self._tables[number] = [*table]
        return number

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        pieces = [piece for block in self._get(sequence) for piece in self._content[block]]
        both = torch.cat([self._empty, *pieces], 1)
        return both[0], both[1]

    def release(self, sequence: int) -> None:
        for block in self._get(sequence):
            self._let_go(block)
        del self._tables[sequence]


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
    args = _Lazy(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale)
    args.check()
    if starts_B1.dtype != torch.int64 or starts_B1.shape != (len(lengths_B) + 1,):
        raise ValueError("starts must be [B + 1], int64")
    starts = starts_B1.tolist()
    if starts[0] != 0 or starts[-1] != len(q_THqD) or list(accumulate(starts, max)) != starts:
        raise ValueError("starts must go from 0 to T and never fall")
    h = k_PNHD.shape[2]
    out = torch.zeros(q_THqD.shape, dtype=q_THqD.dtype, device=q_THqD.device)
    for b, (first, last) in enumerate(pairwise(starts)):
        length = args.sizes[b]
        offset = length - (last - first)
        begin = first + max(0, -offset)
        if begin >= last:
            continue
        k, v = args.read(k_PNHD, b, 0, length), args.read(v_PNHD, b, 0, length)
        # What is old is seen by all queries; among the new ones the mask is a triangle.
        q_HGTD = q_THqD[begin:last].float().unflatten(1, (h, -1)).permute(1, 2, 0, 3)
        s = q_HGTD.matmul(k[:, None].mT).mul_(args.scale)
        old, new = max(offset, 0), last - begin
        triangle = torch.full((new, new), -math.inf, device=s.device).triu_(1)
        s[..., old:] += triangle
        s = s.sub_(s.amax(-1, keepdim=True)).exp_()
        o = s.matmul(v[:, None]).div_(s.sum(-1, keepdim=True))
        out[begin:last] = o.permute(2, 0, 1, 3).flatten(1, 2)
    return out


class Scheduler:
    """Waiting requests lie in a heap by age: going back to the front is being the oldest there."""

    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if n_blocks < 1 or block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._total, self._size, self._most, self._eos = n_blocks, block_size, max_running, eos_id
        self._text: dict[int, list[int]] = {}
        self._stop: dict[int, int] = {}
        self._age: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []
        self._held: dict[int, int] = {}
        self._pending: list[int] | None = None

    @property
    def n_free(self) -> int:
        return self._total - sum(self._held.values())

    def _cost(self, n: int) -> int:
        return (n + self._size - 1) // self._size

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if not prompt or max_new_tokens < 1 or request in self._text:
            raise ValueError("empty, endless or known")
        if self._cost(len(prompt) + max_new_tokens - 1) > self._total:
            raise ValueError("too long ever to run")
        self._text[request] = list(prompt)
        self._stop[request] = len(prompt) + max_new_tokens
        self._age[request] = len(self._age)
        heapq.heappush(self._heap, (self._age[request], request))

    def step(self) -> dict[str, list[int]]:
        if self._pending:
            raise RuntimeError("the last step is not committed")
        running = sorted(self._held, key=self._age.__getitem__)
        needs = {r: self._cost(len(self._text[r])) for r in running}
        # All are served if the newest ones that are too much go: find them one by one.
        preempted = []
        free, served = self.n_free, 0
        while served < len(running):
            request = running[served]
            if needs[request] <= self._held[request]:
                served += 1
            elif free:
                self._held[request] += 1
                free -= 1
                served += 1
            else:
                out = running.pop()
                free += self._held.pop(out)
                heapq.heappush(self._heap, (self._age[out], out))
                preempted.append(out)
        admitted = []
        while not preempted and self._heap and len(running) + len(admitted) < self._most:
            request = self._heap[0][1]
            cost = self._cost(len(self._text[request]))
            if cost > free:
                break
            heapq.heappop(self._heap)
            free -= cost
            self._held[request] = cost
            admitted.append(request)
        self._pending = running + admitted
        return {"admitted": admitted, "decoded": running[:], "preempted": preempted}

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if self._pending is None:
            raise ValueError("nothing to commit")
        got = sorted(request for request, _ in tokens)
        if got != sorted(self._pending):
            raise ValueError("other requests than those of the last step")
        by_age = sorted(tokens, key=lambda pair: self._age[pair[0]])
        self._pending = None
        ended = []
        for request, token in by_age:
            text = self._text[request]
            text.append(token)
            if token == self._eos or len(text) == self._stop[request]:
                del self._held[request]
                ended.append(request)
        return ended

    def tokens(self, request: int) -> list[int]:
        if request in self._text:
            return list(self._text[request])
        raise ValueError("no such request")
