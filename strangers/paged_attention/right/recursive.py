"""Paged attention by recursion: halves of a sequence are merged pairwise; prompts form a tree."""

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from harness import PagePool

Tensor = torch.Tensor


class BlockAllocator:
    """Two stacks make a queue: blocks come back on one and are taken from the other."""

    def __init__(self, n_blocks: int) -> None:
        if n_blocks < 1:
            raise ValueError("n_blocks must be at least 1")
        self._out = list(range(n_blocks - 1, -1, -1))
        self._in: list[int] = []
        self._counts = [0] * n_blocks

    @property
    def n_free(self) -> int:
        return len(self._out) + len(self._in)

    def count(self, block: int) -> int:
        if not 0 <= block < len(self._counts):
            raise ValueError("no such block")
        return self._counts[block]

    def allocate(self, count: int) -> list[int]:
        if count < 0:
            raise ValueError("count is negative")
        if count > self.n_free:
            raise RuntimeError("too few free blocks")
        taken = []
        for _ in range(count):
            if not self._out:
                self._out, self._in = self._in[::-1], []
            taken.append(self._out.pop())
            self._counts[taken[-1]] += 1
        return taken

    def share(self, block: int) -> None:
        if self.count(block) < 1:
            raise ValueError("the block is free")
        self._counts[block] += 1

    def release(self, blocks: list[int]) -> None:
        after: dict[int, int] = {}
        freed = []
        for block in blocks:
            after[block] = after.get(block, self.count(block)) - 1
            if after[block] < 0:
                raise ValueError("a block is named too often")
            if after[block] == 0:
                freed.append(block)
        for block, count in after.items():
            self._counts[block] = count
        self._in += freed


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    k, v = pool.k_PNHD, pool.v_PNHD
    n = k.shape[1]
    if k_THD.ndim != 3 or v_THD.ndim != 3 or slots_T.ndim != 1:
        raise ValueError("wrong rank")
    if k_THD.shape[1:] != k.shape[2:] or v_THD.shape != k_THD.shape or len(slots_T) != len(k_THD):
        raise ValueError("wrong size")
    if (k_THD.dtype, v_THD.dtype, slots_T.dtype) != (k.dtype, v.dtype, torch.int64):
        raise ValueError("wrong dtype")
    taken = torch.zeros(k.shape[0] * n, dtype=torch.bool)
    slots = slots_T.tolist()
    for slot in slots:
        if slot == -1:
            continue
        if slot < 0 or slot >= len(taken) or taken[slot]:
            raise ValueError(f"slot {slot} is none, or taken")
        taken[slot] = True

    def write(first: int, last: int) -> None:
        """Write tokens first … last - 1, which may go to several pages."""
        if last - first > 1:
            middle = (first + last) // 2
            write(first, middle)
            write(middle, last)
        elif last > first and slots[first] >= 0:
            k[slots[first] // n, slots[first] % n] = k_THD[first]
            v[slots[first] // n, slots[first] % n] = v_THD[first]

    write(0, len(slots))


def _verify(q: Tensor, k: Tensor, v: Tensor, table: Tensor, lengths: Tensor) -> None:
    if lengths.ndim != 1 or lengths.dtype != torch.int64:
        raise ValueError("lengths must be [B], int64")
    if table.ndim != 2 or table.dtype != torch.int64 or len(table) != len(lengths):
        raise ValueError("table must be [B, L], int64")
    if q.ndim != 3 or q.dtype not in (torch.float32, torch.float16):
        raise ValueError("q must have rank 3 and be float32 or float16")
    if k.ndim != 4 or k.dtype != q.dtype or k.shape[3] != q.shape[2] or k.shape[1] < 1:
        raise ValueError("k must be [P, N, H, D] with the dtype of q")
    if v.dtype != k.dtype or v.shape != k.shape:
        raise ValueError("v must be like k")
    if k.shape[2] < 1 or q.shape[1] % k.shape[2] != 0:
        raise ValueError("Hq must be a multiple of H")
    n = k.shape[1]
    for b in range(len(lengths)):
        length = int(lengths[b])
        if length < 0 or length > n * table.shape[1]:
            raise ValueError("a length is out of range")
        used = table[b][: math.ceil(length / n)]
        if bool((used < 0).any()) or bool((used >= k.shape[0]).any()):
            raise ValueError("a page number is out of range")


def _piece(q: Tensor, k: Tensor, v: Tensor, row: Tensor, first: int, last: int, scale: float):
    """Return o [Hq, D] and lse [Hq] of tokens first … last - 1, by halves down to a page."""
    n, h = k.shape[1:3]
    hq, d = q.shape
    if last <= first:
        return q.new_zeros(hq, d, dtype=torch.float32), torch.full((hq,), -math.inf, device=q.device)
    if first // n == (last - 1) // n:
        page, start = row[first // n], first % n
        k_SHD = k[page, start : start + last - first].float()
        v_SHD = v[page, start : start + last - first].float()
        s = torch.einsum("hgd,shd->hgs", q.float().view(h, hq // h, d), k_SHD) * scale
        lse = torch.logsumexp(s, -1)
        o = torch.einsum("hgs,shd->hgd", (s - lse[..., None]).exp(), v_SHD)
        return o.reshape(hq, d), lse.reshape(hq)
    middle = (first // n + ((last - 1) // n - first // n + 1) // 2) * n
    return _join(
        *_piece(q, k, v, row, first, middle, scale), *_piece(q, k, v, row, middle, last, scale)
    )


def _join(o1: Tensor, l1: Tensor, o2: Tensor, l2: Tensor) -> tuple[Tensor, Tensor]:
    """Merge two parts; one of them, or both, may be empty."""
    lse = torch.logaddexp(l1, l2)
    w1 = torch.where(l1 == -math.inf, 0.0, torch.exp(l1 - lse))[..., None]
    w2 = torch.where(l2 == -math.inf, 0.0, torch.exp(l2 - lse))[..., None]
    o1 = torch.where((l1 == -math.inf)[..., None], 0.0, o1)
    o2 = torch.where((l2 == -math.inf)[..., None], 0.0, o2)
    return w1 * o1 + w2 * o2, lse


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _verify(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if len(q_BHqD) != len(lengths_B):
        raise ValueError("one query per sequence")
    if scale is None:
        scale = 1 / math.sqrt(q_BHqD.shape[2])
    out = torch.zeros(q_BHqD.shape, dtype=q_BHqD.dtype, device=q_BHqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        q = q_BHqD[b].contiguous()
        out[b] = _piece(q, k_PNHD, v_PNHD, table_BL[b], 0, length, scale)[0].to(out.dtype)
    return out


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    if o_CBHqD.ndim != 4 or lse_CBHq.ndim != 3:
        raise ValueError("wrong rank")
    if o_CBHqD.shape[:3] != lse_CBHq.shape or len(lse_CBHq) < 1:
        raise ValueError("wrong size")
    if o_CBHqD.dtype != torch.float32 or lse_CBHq.dtype != torch.float32:
        raise ValueError("wrong dtype")

    def merge(first: int, last: int) -> tuple[Tensor, Tensor]:
        if last - first == 1:
            empty = lse_CBHq[first] == -math.inf
            return torch.where(empty[..., None], 0.0, o_CBHqD[first]), lse_CBHq[first].clone()
        middle = (first + last) // 2
        return _join(*merge(first, middle), *merge(middle, last))

    return merge(0, len(lse_CBHq))


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
    _verify(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if len(q_BHqD) != len(lengths_B):
        raise ValueError("one query per sequence")
    if n_splits < 1:
        raise ValueError("n_splits must be at least 1")
    if scale is None:
        scale = 1 / math.sqrt(q_BHqD.shape[2])
    o = torch.zeros(q_BHqD.shape, dtype=torch.float32, device=q_BHqD.device)
    lse = torch.full(q_BHqD.shape[:2], -math.inf, dtype=torch.float32, device=q_BHqD.device)

    for b, length in enumerate(lengths_B.tolist()):
        q = q_BHqD[b].contiguous()

        def parts(c0: int, c1: int) -> tuple[Tensor, Tensor]:
            """Merge parts c0 … c1 - 1."""
            first, last = length * c0 // n_splits, length * c1 // n_splits
            if c1 - c0 == 1 or last - first <= 1:
                return _piece(q, k_PNHD, v_PNHD, table_BL[b], first, last, scale)
            middle = (c0 + c1) // 2
            return _join(*parts(c0, middle), *parts(middle, c1))

        o[b], lse[b] = parts(0, n_splits)
    return o.to(q_BHqD.dtype), lse


class _Node:
    """An entry: a block's tokens below those of the node above it."""

    def __init__(self, above: "_Node | None", value: int, tokens: tuple[int, ...], block: int) -> None:
        self.above = above
        self.value = value
        self.tokens = tokens
        self.block = block
        self.below: dict[tuple[int, ...], _Node] = {}


class PrefixCache:
    """A tree of entries; the hashes only say which entry has to go when they collide."""

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
        self._root = _Node(None, 0, (), -1)
        self._by_hash: dict[int, _Node] = {}
        self._by_block: dict[int, _Node] = {}
        self._holders = [0] * n_blocks
        self._queue: dict[int, bool] = {block: True for block in range(n_blocks)}

    @property
    def n_free(self) -> int:
        return len(self._queue)

    def _descend(self, node: _Node, tokens: list[int], at: int) -> list[_Node]:
        """Return the nodes that hit from token `at` on, the last token never among them."""
        path = []
        while at + self._size < len(tokens):
            below = node.below.get(tuple(tokens[at : at + self._size]))
            if below is None:
                break
            path.append(below)
            node, at = below, at + self._size
        return path

    def _cut(self, node: _Node) -> None:
        """End an entry; what is below stays entered but can be reached no longer."""
        del self._by_hash[node.value]
        del self._by_block[node.block]
        if node.above is not None:
            node.above.below.pop(node.tokens, None)

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        if not tokens:
            raise ValueError("empty prompt")
        path = self._descend(self._root, tokens, 0)
        n_blocks = math.ceil(len(tokens) / self._size)
        free_hits = sum(self._holders[node.block] == 0 for node in path)
        if n_blocks - len(path) > len(self._queue) - free_hits:
            raise RuntimeError("too few blocks")
        blocks = []
        for node in path:
            self._queue.pop(node.block, None)
            self._holders[node.block] += 1
            blocks.append(node.block)
        node = path[-1] if path else self._root
        at = len(path) * self._size
        while at < len(tokens):
            block = next(iter(self._queue))
            del self._queue[block]
            self._holders[block] = 1
            blocks.append(block)
            chunk = tuple(tokens[at : at + self._size])
            at += self._size
            known = node.below.get(chunk)
            if known is None or known.block != block:
                if block in self._by_block:
                    self._cut(self._by_block[block])
            if len(chunk) == self._size and known is None:
                value = self._hash(node.value, chunk)
                if value in self._by_hash:
                    self._cut(self._by_hash[value])
                below = _Node(node, value, chunk, block)
                self._by_hash[value] = self._by_block[block] = node.below[chunk] = below
                node = below
        return blocks, len(path) * self._size

    def release(self, blocks: list[int]) -> None:
        left: dict[int, int] = {}
        for block in blocks:
            if not 0 <= block < len(self._holders):
                raise ValueError("no such block")
            left[block] = left.get(block, self._holders[block]) - 1
            if left[block] < 0:
                raise ValueError("a block is named too often")
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._queue[block] = True


class ForkingCache:
    """Sequences are immutable: an append makes a new tuple of blocks."""

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
        self._kv = torch.zeros(n_blocks, 2, block_size, n_kv_heads, head_dim, dtype=dtype, device=device)
        self._free = set(range(n_blocks))
        self._count = [0] * n_blocks
        self._sequences: dict[int, tuple[tuple[int, ...], int]] = {}
        self._numbers = iter(range(1 << 62))

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _state(self, sequence: int) -> tuple[tuple[int, ...], int]:
        state = self._sequences.get(sequence)
        if state is None:
            raise ValueError("no such sequence")
        return state

    def create(self) -> int:
        number = next(self._numbers)
        self._sequences[number] = ((), 0)
        return number

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        blocks, length = self._state(sequence)
        n, h, d = self._kv.shape[2:]
        t = k_THD.shape[0] if k_THD.ndim == 3 else -1
        if t < 0 or k_THD.shape != (t, h, d) or v_THD.shape != (t, h, d):
            raise ValueError("both must be [T, H, D]")
        if {k_THD.dtype, v_THD.dtype} != {self._kv.dtype}:
            raise ValueError("both must have the cache's dtype")
        row = length % n
        copy = 1 if t and row and self._count[blocks[-1]] > 1 else 0
        if math.ceil((length + t) / n) - len(blocks) + copy > len(self._free):
            raise RuntimeError("too few free blocks")
        self._sequences[sequence] = self._grown(blocks, length, k_THD, v_THD)

    def _grown(self, blocks: tuple[int, ...], length: int, k: Tensor, v: Tensor):
        if len(k) == 0:
            return blocks, length
        row = length % self._n
        if row == 0:
            new = self._free.pop()
            self._count[new] = 1
            blocks = (*blocks, new)
        elif self._count[blocks[-1]] > 1:
            new = self._free.pop()
            self._kv[new] = self._kv[blocks[-1]]
            self._count[blocks[-1]] -= 1
            self._count[new] = 1
            blocks = (*blocks[:-1], new)
        now = min(self._n - row, len(k))
        self._kv[blocks[-1], 0, row : row + now] = k[:now]
        self._kv[blocks[-1], 1, row : row + now] = v[:now]
        if now == len(k):
            return blocks, length + now
        if len(k) <= 200 * self._n:
            return self._grown(blocks, length + now, k[now:], v[now:])
        # Too many blocks for the stack: halves.
        half = len(k) // 2
        blocks, length = self._grown(blocks, length + now, k[now:half], v[now:half])
        return self._grown(blocks, length, k[half:], v[half:])

    def fork(self, sequence: int) -> int:
        state = self._state(sequence)
        for block in state[0]:
            self._count[block] += 1
        number = next(self._numbers)
        self._sequences[number] = state
        return number

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        blocks, length = self._state(sequence)
        both = self._kv[list(blocks)]
        return both[:, 0].flatten(0, 1)[:length].clone(), both[:, 1].flatten(0, 1)[:length].clone()

    def release(self, sequence: int) -> None:
        blocks, _ = self._state(sequence)
        del self._sequences[sequence]
        for block in blocks:
            self._count[block] -= 1
            if self._count[block] == 0:
                self._free.add(block)


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
    _verify(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if starts_B1.ndim != 1 or starts_B1.dtype != torch.int64:
        raise ValueError("starts must be of rank 1, int64")
    if len(starts_B1) != len(lengths_B) + 1:
        raise ValueError("starts must be B + 1 numbers")
    if int(starts_B1[0]) or int(starts_B1[-1]) != len(q_THqD) or bool((starts_B1[1:] < starts_B1[:-1]).any()):
        raise ValueError("starts must go from 0 to T and never fall")
    n, h, d = k_PNHD.shape[1:]
    hq = q_THqD.shape[1]
    if scale is None:
        scale = 1 / math.sqrt(d)
    out = torch.zeros(q_THqD.shape, dtype=q_THqD.dtype, device=q_THqD.device)

    def attend(q: Tensor, position: int, row: Tensor, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Return o [T, Hq, D], lse [T, Hq] of queries over pages first … last - 1; all see some."""
        if last - first > 4:
            middle = (first + last) // 2
            o1, l1 = attend(q, position, row, first, middle)
            o2, l2 = attend(q, position, row, middle, last)
            return _join(o1, l1, o2, l2)
        t = len(q)
        stop = min(last * n, position + t)
        k = k_PNHD[row[first:last]].flatten(0, 1)[: stop - first * n].float()
        v = v_PNHD[row[first:last]].flatten(0, 1)[: stop - first * n].float()
        s = torch.einsum("thgd,shd->thgs", q.reshape(t, h, hq // h, d), k) * scale
        column = torch.arange(first * n, first * n + len(k), device=q.device)
        place = torch.arange(position, position + t, device=q.device)
        s = s.masked_fill((column[None, :] > place[:, None])[:, None, None], -math.inf)
        lse = torch.logsumexp(s, -1)
        w = torch.exp(s - torch.where(lse == -math.inf, 0.0, lse)[..., None])
        o = torch.einsum("thgs,shd->thgd", w, v)
        return o.reshape(t, hq, d), lse.reshape(t, hq)

    for b, length in enumerate(lengths_B.tolist()):
        first, last = int(starts_B1[b]), int(starts_B1[b + 1])
        first = max(first, last - length)
        if first < last:
            q = q_THqD[first:last].float()
            o, _ = attend(q, length - (last - first), table_BL[b], 0, math.ceil(length / n))
            out[first:last] = o.to(out.dtype)
    return out


class Scheduler:
    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        if n_blocks < 1 or block_size < 1 or max_running < 1:
            raise ValueError("sizes must be at least 1")
        self._n_blocks, self._n = n_blocks, block_size
        self._max_running, self._eos_id = max_running, eos_id
        self._requests: dict[int, tuple[list[int], int]] = {}
        self._waiting: deque[int] = deque()
        self._running: list[tuple[int, int]] = []  # request and its blocks, oldest first
        self._uncommitted: list[int] | None = None

    @property
    def n_free(self) -> int:
        return self._n_blocks - sum(blocks for _, blocks in self._running)

    def _need(self, request: int) -> int:
        return math.ceil(len(self._requests[request][0]) / self._n)

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        if request in self._requests:
            raise ValueError("used before")
        if not prompt:
            raise ValueError("empty prompt")
        if max_new_tokens < 1:
            raise ValueError("no new tokens")
        if math.ceil((len(prompt) + max_new_tokens - 1) / self._n) > self._n_blocks:
            raise ValueError("needs more blocks than there are")
        self._requests[request] = (list(prompt), len(prompt) + max_new_tokens)
        self._waiting.append(request)

    def _serve(self, free: int, before: list[tuple[int, int]], after: list[tuple[int, int]]):
        """Give the requests of `after` what they need; return who stays, and who goes."""
        if not after:
            return before, []
        (request, blocks), rest = after[0], after[1:]
        more = self._need(request) - blocks
        if more <= free:
            return self._serve(free - more, [*before, (request, blocks + more)], rest)
        newest, held = after[-1]
        stay, go = self._serve(free + held, before, after[:-1])
        return stay, [newest, *go]

    def step(self) -> dict[str, list[int]]:
        if self._uncommitted:
            raise RuntimeError("not committed")
        self._running, preempted = self._serve(self.n_free, [], self._running)
        self._waiting.extendleft(preempted)
        decoded = [request for request, _ in self._running]
        if not preempted:
            self._admit()
        self._uncommitted = [request for request, _ in self._running]
        admitted = self._uncommitted[len(decoded) :]
        return {"admitted": admitted, "decoded": decoded, "preempted": preempted}

    def _admit(self) -> None:
        if self._waiting and len(self._running) < self._max_running:
            need = self._need(self._waiting[0])
            if need <= self.n_free:
                self._running.append((self._waiting.popleft(), need))
                self._admit()

    def commit(self, tokens: list[list[int]]) -> list[int]:
        if self._uncommitted is None or sorted(r for r, _ in tokens) != sorted(self._uncommitted):
            raise ValueError("not the requests of the last step")
        self._uncommitted = None
        new = {request: token for request, token in tokens}
        ended, stay = [], []
        for request, blocks in self._running:
            text, most = self._requests[request]
            text.append(new[request])
            if new[request] == self._eos_id or len(text) == most:
                ended.append(request)
            else:
                stay.append((request, blocks))
        self._running = stay
        return ended

    def tokens(self, request: int) -> list[int]:
        if request not in self._requests:
            raise ValueError("no such request")
        return list(self._requests[request][0])
