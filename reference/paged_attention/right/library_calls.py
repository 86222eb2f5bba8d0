"""torch's own attention on gathered pages; sets and sorted keys; free blocks in an ordered dict."""

import math
from collections import OrderedDict, defaultdict
from itertools import islice

import torch
from torch.nn.functional import scaled_dot_product_attention


def refuse(message):
    raise ValueError(message)


class BlockAllocator:
    def __init__(self, n_blocks):
        n_blocks >= 1 or refuse("no blocks")
        self._n = n_blocks
        self._users = defaultdict(int)
        self._idle = OrderedDict((block, True) for block in range(n_blocks))

    n_free = property(lambda self: len(self._idle))

    def count(self, block):
        0 <= block < self._n or refuse(f"no block {block}")
        return self._users[block]

    def allocate(self, count):
        count >= 0 or refuse("a negative count")
        if count > len(self._idle):
            raise RuntimeError("out of blocks")
        taken = list(islice(self._idle, count))
        for block in taken:
            self.claim(block)
        return taken

    def claim(self, block):
        self._idle.pop(block, None)
        self._users[block] += 1

    def share(self, block):
        self.count(block) or refuse(f"block {block} is free")
        self.claim(block)

    def release(self, blocks):
        after = {block: self.count(block) for block in blocks}
        for block in blocks:
            after[block] -= 1
        min(after.values(), default=0) >= 0 or refuse("released too often")
        for block in blocks:
            self._users[block] -= 1
            if self._users[block] == 0:
                self._idle[block] = True


def write_kv(pool, k_THD, v_THD, slots_T):
    P, N, H, D = pool.k_PNHD.shape
    (k_THD.dim() == 3 and k_THD.shape[1:] == (H, D)) or refuse("k")
    v_THD.shape == k_THD.shape or refuse("v")
    k_THD.dtype == v_THD.dtype == pool.k_PNHD.dtype or refuse("dtype")
    (slots_T.dtype == torch.int64 and slots_T.shape == (len(k_THD),)) or refuse("slots")
    if not slots_T.numel():
        return
    (int(slots_T.min()) >= -1 and int(slots_T.max()) < P * N) or refuse("a slot outside")
    used, times = slots_T[slots_T != -1].unique(return_counts=True)
    bool((times == 1).all()) or refuse("a slot twice")
    token = slots_T.argsort()[len(slots_T) - len(used) :]
    pool.k_PNHD.view(P * N, H, D)[used] = k_THD[token]
    pool.v_PNHD.view(P * N, H, D)[used] = v_THD[token]


def gathered(x, row, length):
    """Return [1, H, S, D] in float32."""
    pages = row[: math.ceil(length / x.shape[1])]
    return x.index_select(0, pages).flatten(0, 1)[:length].float().transpose(0, 1)[None]


def inspect(q, k, v, table, lengths, rows):
    (q.dim() == 3 and k.dim() == 4 and k.shape == v.shape) or refuse("shapes")
    q.dtype in (torch.float32, torch.float16) or refuse("dtype")
    q.dtype == k.dtype == v.dtype or refuse("dtypes differ")
    P, N, H, D = k.shape
    (min(N, H, q.shape[1]) >= 1 and q.shape[1] % H == 0 and q.shape[2] == D) or refuse("heads")
    table.dtype == lengths.dtype == torch.int64 or refuse("integers")
    (table.dim() == 2 and table.shape[0] == rows and lengths.shape == (rows,)) or refuse("rows")
    bool(((lengths < 0) | (lengths > table.shape[1] * N)).any()) and refuse("a length")
    needed = (lengths + N - 1).div(N, rounding_mode="floor")
    used = torch.arange(table.shape[1]) < needed[:, None]
    bool((((table < 0) | (table >= P)) & used).any()) and refuse("a page")


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    inspect(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, len(q_BHqD))
    out = torch.zeros(q_BHqD.shape, dtype=q_BHqD.dtype)
    for b, length in enumerate(lengths_B.tolist()):
        if length:
            k, v = gathered(k_PNHD, table_BL[b], length), gathered(v_PNHD, table_BL[b], length)
            q = q_BHqD[b].float().reshape(1, k.shape[1], -1, k.shape[3])
            out[b] = scaled_dot_product_attention(q, k, v, scale=scale).reshape(out[b].shape)
    return out


def merge_splits(o_CBHqD, lse_CBHq):
    (o_CBHqD.dim() == 4 and len(o_CBHqD)) or refuse("no parts")
    o_CBHqD.shape[:3] == lse_CBHq.shape or refuse("shapes")
    o_CBHqD.dtype == lse_CBHq.dtype == torch.float32 or refuse("float32")
    shares = torch.softmax(lse_CBHq, dim=0).nan_to_num(0.0)[..., None]
    filled = o_CBHqD.masked_fill(lse_CBHq[..., None] == -math.inf, 0.0)
    return (filled * shares).sum(dim=0), torch.logsumexp(lse_CBHq, dim=0)


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):
    inspect(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, len(q_BHqD))
    n_splits >= 1 or refuse("no splits")
    (B, Hq, D), (_, N, H, _) = q_BHqD.shape, k_PNHD.shape
    factor = D**-0.5 if scale is None else scale
    out = torch.zeros(n_splits, B, Hq, D)
    lse = torch.full((n_splits, B, Hq), -math.inf)
    for b, length in enumerate(lengths_B.tolist()):
        for c in range(n_splits):
            first, last = length * c // n_splits, length * (c + 1) // n_splits
            if first == last:
                continue
            page = first // N
            shift = page * N
            k, v = (gathered(x, table_BL[b, page:], last - shift) for x in (k_PNHD, v_PNHD))
            k, v = k[0, :, first - shift :], v[0, :, first - shift :]
            q = q_BHqD[b].float().reshape(H, Hq // H, D)
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(factor)
            lse[c, b] = scores.logsumexp(dim=2).flatten()
            out[c, b] = torch.bmm(scores.softmax(dim=2), v).reshape(Hq, D)
    merged, total = merge_splits(out, lse)
    return merged.to(q_BHqD.dtype), total


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    (starts_B1.dtype == torch.int64 and starts_B1.dim() == 1) or refuse("starts")
    starts_B1.numel() or refuse("no starts")
    inspect(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B, starts_B1.numel() - 1)
    edges = starts_B1.tolist()
    (edges == sorted(edges) and (edges[0], edges[-1]) == (0, len(q_THqD))) or refuse("edges")
    out = torch.zeros(q_THqD.shape, dtype=q_THqD.dtype)
    for b, length in enumerate(lengths_B.tolist()):
        count = min(edges[b + 1] - edges[b], length)
        rows = slice(edges[b + 1] - count, edges[b + 1])
        if count:
            k, v = gathered(k_PNHD, table_BL[b], length), gathered(v_PNHD, table_BL[b], length)
            group = q_THqD.shape[1] // k.shape[1]
            k, v = (x.repeat_interleave(group, dim=1) for x in (k, v))
            q = q_THqD[rows].float().transpose(0, 1)[None]
            mask = torch.ones(count, length, dtype=torch.bool).tril(length - count)
            got = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
            out[rows] = got[0].transpose(0, 1).to(out.dtype)
    return out


class PrefixCache(BlockAllocator):
    """What was entered is a dict per entry; blocks are this object's own."""

    def __init__(self, n_blocks, block_size, hash_fn):
        super().__init__(n_blocks)
        block_size >= 1 or refuse("block_size")
        self._size, self._hash_fn = block_size, hash_fn
        self._entered, self._inside = {}, {}

    def allocate(self, tokens):
        tokens or refuse("an empty prompt")
        full = [
            tuple(tokens[end - self._size : end])
            for end in range(self._size, len(tokens) + 1, self._size)
        ]
        hashes = [0]
        for text in full:
            hashes.append(self._hash_fn(hashes[-1], text))
        wanted = list(zip(hashes[1:], full, strict=True))
        chain = [None]
        for number, text in wanted[: (len(tokens) - 1) // self._size]:
            found = self._entered.get(number)
            if not found or found["text"] != text or found["after"] is not chain[-1]:
                break
            chain.append(found)
        hits = [one["block"] for one in chain[1:]]
        known = set(hits)
        fresh = math.ceil(len(tokens) / self._size) - len(hits)
        if fresh > sum(block not in known for block in islice(self._idle, fresh + len(hits))):
            raise RuntimeError("out of blocks")
        for block in hits:
            self.claim(block)
        blocks = super().allocate(fresh)
        for place, block in enumerate(blocks, len(hits)):
            self._drop(self._inside.get(block))
            if place < len(wanted):
                chain.append(self._put(block, *wanted[place], chain[-1]))
        return [*hits, *blocks], len(hits) * self._size

    def _drop(self, entry):
        if entry is not None:
            del self._inside[entry["block"]], self._entered[entry["hash"]]

    def _put(self, block, number, text, after):
        there = self._entered.get(number)
        if there and there["text"] == text and there["after"] is after:
            return there
        self._drop(there)
        entry = {"block": block, "hash": number, "text": text, "after": after}
        self._entered[number] = self._inside[block] = entry
        return entry

    def release(self, blocks):
        super().release(blocks[::-1])


class ForkingCache:
    def __init__(
        self, n_blocks, block_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"
    ):
        min(n_blocks, block_size, n_kv_heads, head_dim) >= 1 or refuse("sizes")
        shape = (n_blocks, block_size, n_kv_heads, head_dim)
        self._k = torch.empty(shape, dtype=dtype, device=device)
        self._v = torch.empty(shape, dtype=dtype, device=device)
        self._books = BlockAllocator(n_blocks)
        self._state, self._next = {}, 0

    n_free = property(lambda self: self._books.n_free)

    def _of(self, sequence):
        sequence in self._state or refuse(f"no sequence {sequence}")
        return self._state[sequence]

    def create(self):
        self._state[self._next] = {"blocks": [], "length": 0}
        self._next += 1
        return self._next - 1

    def fork(self, sequence):
        parent = self._of(sequence)
        any(self._books.share(block) for block in parent["blocks"])
        child = self.create()
        self._state[child] = {"blocks": parent["blocks"][:], "length": parent["length"]}
        return child

    def append(self, sequence, k_THD, v_THD):
        mine, size = self._of(sequence), self._k.shape[1]
        (k_THD.dim() == 3 and k_THD.shape[1:] == self._k.shape[2:]) or refuse("k")
        k_THD.shape == v_THD.shape or refuse("v")
        k_THD.dtype == v_THD.dtype == self._k.dtype or refuse("dtype")
        if len(k_THD) == 0:
            return
        blocks, length = mine["blocks"], mine["length"]
        used = length % size
        copies = int(used > 0 and self._books.count(blocks[-1]) > 1)
        new = self._books.allocate(math.ceil((length + len(k_THD)) / size) - len(blocks) + copies)
        if copies:
            for x in (self._k, self._v):
                x[new[0], :used] = x[blocks[-1], :used]
            self._books.release(blocks[-1:])
            blocks[-1:] = []
        blocks += new
        for place in range(length, length + len(k_THD)):
            slot = blocks[place // size], place % size
            self._k[slot], self._v[slot] = k_THD[place - length], v_THD[place - length]
        mine["length"] += len(k_THD)

    def gather(self, sequence):
        mine = self._of(sequence)
        rows = torch.tensor(mine["blocks"], dtype=torch.int64)
        return tuple(x[rows].flatten(0, 1)[: mine["length"]] for x in (self._k, self._v))

    def release(self, sequence):
        self._books.release(self._of(sequence)["blocks"])
        del self._state[sequence]


class Scheduler:
    """Blocks come from an allocator; the queue is an ordered dict, open at both ends."""

    def __init__(self, n_blocks, block_size, *, max_running, eos_id):
        (block_size >= 1 and max_running >= 1) or refuse("sizes")
        self._books, self._all, self._size = BlockAllocator(n_blocks), n_blocks, block_size
        self._most, self._eos = max_running, eos_id
        self._words, self._ends, self._blocks = {}, {}, {}
        self._queue, self._active, self._asked = OrderedDict(), OrderedDict(), None

    n_free = property(lambda self: self._books.n_free)

    def _lack(self, number):
        return math.ceil(len(self._words[number]) / self._size) - len(self._blocks[number])

    def add(self, request, prompt, max_new_tokens):
        request not in self._words or refuse("known")
        (len(prompt) > 0 and max_new_tokens > 0) or refuse("nothing to do")
        end = len(prompt) + max_new_tokens
        math.ceil((end - 1) / self._size) <= self._all or refuse("too large")
        self._words[request], self._ends[request] = list(prompt), end
        self._blocks[request] = []
        self._queue[request] = True

    def _stop(self, number):
        self._books.release(self._blocks[number])
        self._blocks[number] = []
        del self._active[number]

    def step(self):
        if self._asked:
            raise RuntimeError("the last step is open")
        preempted = []
        for number in list(self._active):
            while number in self._active and self._lack(number) > self._books.n_free:
                newest = next(reversed(self._active))
                self._stop(newest)
                self._queue[newest] = True
                self._queue.move_to_end(newest, last=False)
                preempted.append(newest)
            if number in self._active:
                self._blocks[number] += self._books.allocate(self._lack(number))
        decoded, admitted = list(self._active), []
        while self._queue and not preempted and len(self._active) < self._most:
            first = next(iter(self._queue))
            if self._lack(first) > self._books.n_free:
                break
            self._blocks[first] = self._books.allocate(self._lack(first))
            del self._queue[first]
            self._active[first] = True
            admitted.append(first)
        self._asked = set(self._active)
        return {"admitted": admitted, "decoded": decoded, "preempted": preempted}

    def commit(self, tokens):
        named = [number for number, _ in tokens]
        asked = self._asked or set()
        (set(named) == asked and len(named) == len(asked)) or refuse("not these")
        self._asked = None
        for number, token in tokens:
            self._words[number].append(token)
        ended = [
            number
            for number in self._active
            if number in asked
            and (self._words[number][-1] == self._eos)
            | (len(self._words[number]) == self._ends[number])
        ]
        for number in ended:
            self._stop(number)
        return ended

    def tokens(self, request):
        request in self._words or refuse("unknown")
        return list(self._words[request])
