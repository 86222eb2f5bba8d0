"""Page by page with a running softmax, as kernels do it; arrays of counts; linked nodes of text."""

import math
from bisect import insort
from collections import Counter, deque

import torch


class BlockAllocator:
    def __init__(self, n_blocks):
        if n_blocks < 1:
            raise ValueError("n_blocks")
        self.refs = [0 for _ in range(n_blocks)]
        self.ring = deque(range(n_blocks))

    @property
    def n_free(self):
        return self.refs.count(0)

    def count(self, block):
        if block not in range(len(self.refs)):
            raise ValueError(block)
        return self.refs[block]

    def allocate(self, count):
        if count < 0:
            raise ValueError(count)
        if count > len(self.ring):
            raise RuntimeError(count)
        return [self._first() for _ in range(count)]

    def _first(self):
        block = self.ring.popleft()
        self.refs[block] = 1
        return block

    def share(self, block):
        if self.count(block) == 0:
            raise ValueError(block)
        self.refs[block] += 1

    def release(self, blocks):
        named = Counter(blocks)
        if any(self.count(block) < times for block, times in named.items()):
            raise ValueError(blocks)
        for block in blocks:
            self.refs[block] -= 1
            if not self.refs[block]:
                self.ring.append(block)


def write_kv(pool, k_THD, v_THD, slots_T):
    k, v = pool.k_PNHD, pool.v_PNHD
    if slots_T.dtype != torch.int64 or slots_T.dim() != 1:
        raise ValueError("slots")
    want = (len(slots_T), *k.shape[2:])
    if tuple(k_THD.shape) != want or tuple(v_THD.shape) != want:
        raise ValueError("shapes")
    if k_THD.dtype != k.dtype or v_THD.dtype != v.dtype:
        raise ValueError("dtypes")
    slots = slots_T.tolist()
    real = [slot for slot in slots if slot != -1]
    if len(set(real)) < len(real) or (
        real and not 0 <= min(real) <= max(real) < k[..., 0, 0].numel()
    ):
        raise ValueError("slots")
    for t, slot in enumerate(slots):
        if slot >= 0:
            page, row = divmod(slot, k.shape[1])
            k[page, row] = k_THD[t]
            v[page, row] = v_THD[t]


def check(q, k, v, table, lengths, rows):
    fits = (
        q.dim() == 3
        and k.dim() == 4
        and k.shape == v.shape
        and q.dtype in (torch.float32, torch.float16)
        and {k.dtype, v.dtype} == {q.dtype}
        and q.shape[2] == k.shape[3]
        and k.shape[1] >= 1
        and k.shape[2] >= 1
        and q.shape[1] >= 1
        and q.shape[1] % k.shape[2] == 0
        and {table.dtype, lengths.dtype} == {torch.int64}
        and table.dim() == 2
        and lengths.dim() == 1
        and len(table) == len(lengths) == rows
    )
    if not fits:
        raise ValueError("a shape or dtype")
    for b in range(rows):
        length, N = int(lengths[b]), k.shape[1]
        if not 0 <= length <= table.shape[1] * N:
            raise ValueError("a length")
        for page in table[b, : math.ceil(length / N)].tolist():
            if not 0 <= page < k.shape[0]:
                raise ValueError("a page")


class Running:
    """Output, largest score and sum of weights of queries [T, Hq, D] so far."""

    def __init__(self, q, n_heads, scale):
        T, Hq, D = q.shape
        self.q = q.float().reshape(T, n_heads, Hq // n_heads, D) * scale
        self.out = torch.zeros(self.q.shape)
        self.top = torch.full(self.q.shape[:3], -math.inf)
        self.sum = torch.zeros(self.q.shape[:3])

    def add(self, k, v, seen):
        """Add tokens k, v [S, H, D]; `seen` [T, S] says which query sees which."""
        scores = (self.q.transpose(0, 1).flatten(1, 2) @ k.float().permute(1, 2, 0)).view(
            self.q.shape[1], len(self.q), self.q.shape[2], len(k)
        )
        scores = scores.transpose(0, 1).masked_fill(~seen[:, None, None], -math.inf)
        top = torch.maximum(self.top, scores.amax(dim=-1))
        base = torch.where(top == -math.inf, torch.zeros(()), top)
        weights, shrink = (scores - base[..., None]).exp(), (self.top - base).exp()
        self.sum = self.sum * shrink + weights.sum(dim=-1)
        part = weights.transpose(0, 1).flatten(1, 2) @ v.float().transpose(0, 1)
        part = part.view(self.q.shape[1], len(self.q), *self.q.shape[2:]).transpose(0, 1)
        self.out = self.out * shrink[..., None] + part
        self.top = top

    def end(self):
        empty = self.sum == 0
        out = self.out / self.sum.masked_fill(empty, 1.0)[..., None]
        return out.flatten(1, 2), (self.top + self.sum.log()).flatten(1, 2)


def spans(first, last, size, pages):
    """Yield (page, first row, last row, position of the first row) of tokens first … last - 1."""
    if first == last:
        return
    step = max(1, 256 // size)
    for begin in range(first // size, math.ceil(last / size), step):
        end = min(begin + step, math.ceil(last / size))
        low, high = max(first, begin * size), min(last, end * size)
        yield pages[begin:end], low - begin * size, high - begin * size, low


def over_pages(running, caches, pages, span, own):
    """Add tokens of `span`; `own` [T] holds the position of each query."""
    for block, low, high, start in spans(*span, caches[0].shape[1], pages):
        k, v = (x[block].flatten(0, 1)[low:high] for x in caches)
        seen = torch.arange(start, start + high - low) <= own[:, None]
        running.add(k, v, seen)


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    return split_kv_decode(*args, n_splits=1, scale=scale)[0]


def merge_splits(o_CBHqD, lse_CBHq):
    shapes = o_CBHqD.dim() == 4 and len(o_CBHqD) > 0 and o_CBHqD.shape[:-1] == lse_CBHq.shape
    if not shapes or {o_CBHqD.dtype, lse_CBHq.dtype} != {torch.float32}:
        raise ValueError("parts")
    out, lse = torch.zeros(o_CBHqD.shape[1:]), torch.full(lse_CBHq.shape[1:], -math.inf)
    for o, part in zip(o_CBHqD, lse_CBHq, strict=True):
        both = torch.logaddexp(lse, part)
        base = both.masked_fill(both == -math.inf, 0.0)
        weight = (part - base).exp()[..., None]
        out = out * (lse - base).exp()[..., None] + torch.where(weight > 0, o * weight, 0.0)
        lse = both
    return out, lse


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):
    check(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, len(q_BHqD))
    if n_splits < 1:
        raise ValueError(n_splits)
    factor = 1 / math.sqrt(q_BHqD.shape[2]) if scale is None else scale
    out, lse = torch.zeros_like(q_BHqD), torch.full(q_BHqD.shape[:2], -math.inf)
    for b, length in enumerate(lengths_B.tolist()):
        outs, lses, first = [], [], 0
        for c in range(n_splits):
            last = first + length // n_splits + (c < length % n_splits)
            running = Running(q_BHqD[b : b + 1], k_PNHD.shape[2], factor)
            own = torch.tensor([length])
            over_pages(running, (k_PNHD, v_PNHD), table_BL[b], (first, last), own)
            part = running.end()
            outs.append(part[0])
            lses.append(part[1])
            first = last
        merged = merge_splits(torch.stack(outs), torch.stack(lses))
        out[b], lse[b] = merged[0][0].to(out.dtype), merged[1][0]
    return out, lse


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    if starts_B1.dtype != torch.int64 or starts_B1.dim() != 1 or len(starts_B1) == 0:
        raise ValueError("starts")
    check(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B, len(starts_B1) - 1)
    if int(starts_B1[0]) or int(starts_B1[-1]) != len(q_THqD) or bool((starts_B1.diff() < 0).any()):
        raise ValueError("starts")
    factor = 1 / math.sqrt(q_THqD.shape[2]) if scale is None else scale
    out = torch.zeros_like(q_THqD)
    for b, length in enumerate(lengths_B.tolist()):
        first, last = int(starts_B1[b]), int(starts_B1[b + 1])
        if first < last:
            running = Running(q_THqD[first:last], k_PNHD.shape[2], factor)
            own = torch.arange(length - (last - first), length)
            over_pages(running, (k_PNHD, v_PNHD), table_BL[b], (0, length), own)
            out[first:last] = running.end()[0].to(out.dtype)
    return out


class Node:
    def __init__(self, parent, key, tokens, block):
        self.parent, self.key, self.tokens, self.block = parent, key, tokens, block


class PrefixCache:
    def __init__(self, n_blocks, block_size, hash_fn):
        if block_size < 1:
            raise ValueError("block_size")
        self.pool = BlockAllocator(n_blocks)
        self.width, self.hash_fn = block_size, hash_fn
        self.table, self.root = {}, Node(None, 0, (), -1)

    @property
    def n_free(self):
        return self.pool.n_free

    def allocate(self, tokens):
        if not tokens:
            raise ValueError("no tokens")
        width, node, found = self.width, self.root, []
        keys, key = [], 0
        for start in range(0, len(tokens) - width + 1, width):
            text = tuple(tokens[start : start + width])
            key = self.hash_fn(key, text)
            keys.append((key, text))
        while len(found) < (len(tokens) - 1) // width:
            key, text = keys[len(found)]
            child = self.table.get(key)
            if child is None or child.parent is not node or child.tokens != text:
                break
            node = child
            found.append(child)
        refs = self.pool.refs
        asleep = {child.block for child in found if refs[child.block] == 0}
        total = math.ceil(len(tokens) / width)
        if len(self.pool.ring) - len(asleep) < total - len(found):
            raise RuntimeError("too few blocks")
        if asleep:
            self.pool.ring = deque(b for b in self.pool.ring if b not in asleep)
        result = []
        for child in found:
            refs[child.block] += 1
            result.append(child.block)
        for place in range(len(found), total):
            (block,) = self.pool.allocate(1)
            self._forget(block)
            result.append(block)
            if place < len(keys):
                node = self._remember(node, *keys[place], block)
        return result, len(found) * width

    def _forget(self, block):
        node = self.__dict__.setdefault("nodes", {}).pop(block, None)
        if node is not None:
            del self.table[node.key]

    def _remember(self, parent, key, text, block):
        old = self.table.get(key)
        if old is not None:
            if old.parent is parent and old.tokens == text:
                return old
            self._forget(old.block)
        self.table[key] = self.nodes[block] = Node(parent, key, text, block)
        return self.table[key]

    def release(self, blocks):
        self.pool.release(list(reversed(blocks)))


class ForkingCache:
    """A list of pages of its own for keys and values; a page is copied as a whole."""

    def __init__(
        self, n_blocks, block_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"
    ):
        if min(n_blocks, block_size, n_kv_heads, head_dim) < 1:
            raise ValueError("sizes")
        self.shape, self.dtype, self.device = (2, block_size, n_kv_heads, head_dim), dtype, device
        self.pool, self.pages = BlockAllocator(n_blocks), {}
        self.tables, self.lengths = [], []

    @property
    def n_free(self):
        return self.pool.n_free

    def create(self):
        self.tables.append([])
        self.lengths.append(0)
        return len(self.tables) - 1

    def _table(self, sequence):
        if not 0 <= sequence < len(self.tables) or self.tables[sequence] is None:
            raise ValueError(sequence)
        return self.tables[sequence]

    def fork(self, sequence):
        for block in self._table(sequence):
            self.pool.share(block)
        child = self.create()
        self.tables[child] = self.tables[sequence].copy()
        self.lengths[child] = self.lengths[sequence]
        return child

    def append(self, sequence, k_THD, v_THD):
        table, size = self._table(sequence), self.shape[1]
        good = k_THD.dim() == 3 and k_THD.shape == v_THD.shape and k_THD.shape[1:] == self.shape[2:]
        if not good or k_THD.dtype != self.dtype or v_THD.dtype != self.dtype:
            raise ValueError("tokens")
        start, end = self.lengths[sequence], self.lengths[sequence] + len(k_THD)
        open_ = start < end and start % size > 0
        copying = open_ and self.pool.count(table[-1]) > 1
        fresh = self.pool.allocate(math.ceil(end / size) - len(table) + copying)
        for block in fresh:
            self.pages[block] = torch.zeros(self.shape, dtype=self.dtype, device=self.device)
        if copying:
            self.pages[fresh[0]].copy_(self.pages[table[-1]])
            self.pool.release([table.pop()])
        table.extend(fresh)
        place = start
        while place < end:
            row, count = place % size, min(size - place % size, end - place)
            page = self.pages[table[place // size]]
            page[0, row : row + count] = k_THD[place - start : place - start + count]
            page[1, row : row + count] = v_THD[place - start : place - start + count]
            place += count
        self.lengths[sequence] = end

    def gather(self, sequence):
        table = self._table(sequence)
        if not table:
            empty = torch.zeros((0, *self.shape[2:]), dtype=self.dtype, device=self.device)
            return empty, empty.clone()
        whole = torch.cat([self.pages[block] for block in table], dim=1)
        return whole[0, : self.lengths[sequence]], whole[1, : self.lengths[sequence]]

    def release(self, sequence):
        self.pool.release(self._table(sequence))
        for block in self.tables[sequence]:
            if self.pool.count(block) == 0:
                self.pages.pop(block, None)
        self.tables[sequence] = None


class Scheduler:
    """Requests by order of arrival; `queue` and `batch` hold places in that order, sorted."""

    def __init__(self, n_blocks, block_size, *, max_running, eos_id):
        if min(n_blocks, block_size, max_running) < 1:
            raise ValueError("sizes")
        self.n_free, self.total, self.width = n_blocks, n_blocks, block_size
        self.limit, self.eos = max_running, eos_id
        self.numbers, self.text, self.most, self.owned = {}, [], [], []
        self.queue, self.batch, self.open = [], [], False

    def add(self, request, prompt, max_new_tokens):
        last = len(prompt) + max_new_tokens
        if request in self.numbers or not prompt or max_new_tokens < 1:
            raise ValueError(request)
        if math.ceil((last - 1) / self.width) > self.total:
            raise ValueError("it could never run")
        self.queue.append(len(self.text))
        self.numbers[request] = len(self.text)
        self.text.append(list(prompt))
        self.most.append(last)
        self.owned.append(0)

    def _own(self, place, blocks):
        self.n_free += self.owned[place] - blocks
        self.owned[place] = blocks

    def _runs(self, place):
        return bool(self.batch) and place <= self.batch[-1]

    def _named(self, places):
        numbers = list(self.numbers)
        return [numbers[place] for place in places]

    def _size(self, place):
        return math.ceil(len(self.text[place]) / self.width)

    def step(self):
        if self.open:
            raise RuntimeError("not committed")
        gone = []
        for place in tuple(self.batch):
            while self._runs(place) and self._size(place) > self.owned[place] + self.n_free:
                gone.append(self.batch.pop())
                self._own(gone[-1], 0)
                insort(self.queue, gone[-1])
            if self._runs(place):
                self._own(place, self._size(place))
        old, new = list(self.batch), []
        if not gone:
            while self.queue and len(self.batch) < self.limit:
                if self._size(self.queue[0]) > self.n_free:
                    break
                new.append(self.queue.pop(0))
                self._own(new[-1], self._size(new[-1]))
                self.batch.append(new[-1])
        self.open = bool(self.batch)
        names = {"admitted": new, "decoded": old, "preempted": gone}
        return {name: self._named(places) for name, places in names.items()}

    def commit(self, tokens):
        running = self.batch if self.open else []
        expected = dict(zip(self._named(running), running, strict=True))
        given = Counter(number for number, _ in tokens)
        if given != Counter(expected.keys()):
            raise ValueError("other requests")
        for number, token in tokens:
            self.text[expected[number]].append(token)
        self.open = False
        done = [
            place
            for place in self.batch
            if expected
            and (self.text[place][-1] == self.eos or len(self.text[place]) >= self.most[place])
        ]
        for place in done:
            self._own(place, 0)
        ended = set(done)
        self.batch = [place for place in self.batch if place not in ended]
        return self._named(done)

    def tokens(self, request):
        if request not in self.numbers:
            raise ValueError(request)
        return self.text[self.numbers[request]][:]
