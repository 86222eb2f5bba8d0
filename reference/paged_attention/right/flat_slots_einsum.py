"""Slots instead of pages, einsum, sorted lists of stamps instead of queues, tuples as chains."""

import itertools
import math

import torch


def need(condition, what="bad argument"):
    if not condition:
        raise ValueError(what)


def up(n, size):
    return (n + size - 1) // size


class BlockAllocator:
    """A block's stamp says when it became free; None while it is held."""

    def __init__(self, n_blocks):
        need(n_blocks >= 1)
        self.holders = {}
        self.stamps = {block: block for block in range(n_blocks)}
        self.clock = self.total = n_blocks

    @property
    def n_free(self):
        return len(self.stamps)

    def count(self, block):
        need(0 <= block < self.total)
        return self.holders.get(block, 0)

    def allocate(self, count):
        need(count >= 0)
        if count > len(self.stamps):
            raise RuntimeError("too few blocks")
        # A dict keeps the order in which blocks were freed; only its first ones are looked at.
        chosen = list(itertools.islice(self.stamps, count))
        for block in chosen:
            del self.stamps[block]
            self.holders[block] = 1
        return chosen

    def share(self, block):
        need(self.count(block) >= 1)
        self.holders[block] += 1

    def release(self, blocks):
        left = dict(self.holders)
        for block in blocks:
            need(left.get(block, 0) >= 1)
            left[block] -= 1
        for block in blocks:
            self.holders[block] -= 1
            if not self.holders[block]:
                del self.holders[block]
                self.stamps[block] = self.clock
                self.clock += 1


def write_kv(pool, k_THD, v_THD, slots_T):
    pages = (pool.k_PNHD, pool.v_PNHD)
    P, N, H, D = pages[0].shape
    T = slots_T.shape[0] if slots_T.dim() == 1 else -1
    for x in (k_THD, v_THD):
        need(tuple(x.shape) == (T, H, D) and x.dtype is pages[0].dtype)
    need(slots_T.dtype is torch.int64)
    kept = [(t, slot) for t, slot in enumerate(slots_T.tolist()) if slot != -1]
    need(all(0 <= slot < P * N for _, slot in kept))
    need(len({slot for _, slot in kept}) == len(kept))
    if kept:
        tokens, slots = (torch.tensor(part) for part in zip(*kept, strict=True))
        for page, x in zip(pages, (k_THD, v_THD), strict=True):
            page.view(P * N, H, D).index_copy_(0, slots, x.index_select(0, tokens))


def check_attention(q, k, v, table, lengths, rows):
    need(q.dim() == 3 and k.dim() == 4 and v.shape == k.shape)
    need(q.dtype in (torch.float32, torch.float16) and q.dtype == k.dtype == v.dtype)
    need(k.shape[3] == q.shape[2] and k.shape[2] > 0 and k.shape[1] > 0)
    need(q.shape[1] > 0 and q.shape[1] % k.shape[2] == 0)
    need(table.dtype == torch.int64 and table.dim() == 2 and table.shape[0] == rows)
    need(lengths.dtype == torch.int64 and tuple(lengths.shape) == (rows,))
    for row, length in zip(table.tolist(), lengths.tolist(), strict=True):
        need(0 <= length <= len(row) * k.shape[1])
        need(all(0 <= page < k.shape[0] for page in row[: up(length, k.shape[1])]))


def slots_of(row, first, last, size):
    places = torch.arange(first, last)
    return row[places // size] * size + places % size


def take(x, row, first, last):
    """Tokens first … last - 1 of a sequence, [S, H, D], in float32."""
    N = x.shape[1]
    slots = slots_of(row, first, last, N)
    return x[slots // N, slots % N].float()


def attend(q, k, v, scale, visible=None):
    """q [T, Hq, D] over k, v [S, H, D]: output and log-sum-exp [T, Hq]."""
    T, Hq, D = q.shape
    grouped = q.float().view(T, k.shape[1], -1, D) if q.is_contiguous() else None
    if grouped is None:
        grouped = q.float().contiguous().view(T, k.shape[1], -1, D)
    scores = torch.einsum("thgd,shd->thgs", grouped, k) * scale
    if visible is not None:
        scores = scores.masked_fill(~visible[:, None, None], -math.inf)
    lse = scores.logsumexp(dim=-1)
    safe = lse.masked_fill(lse == -math.inf, 0.0)
    weights = (scores - safe[..., None]).exp()
    out = torch.einsum("thgs,shd->thgd", weights, v)
    return out.reshape(T, Hq, D), lse.reshape(T, Hq)


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    starts = torch.arange(q_BHqD.shape[0] + 1)
    return paged_prefill(q_BHqD, starts, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)


def merge_splits(o_CBHqD, lse_CBHq):
    need(o_CBHqD.dim() == 4 and lse_CBHq.dim() == 3 and o_CBHqD.shape[0] > 0)
    need(o_CBHqD.shape[:3] == lse_CBHq.shape)
    need(o_CBHqD.dtype == lse_CBHq.dtype == torch.float32)
    lse = torch.logsumexp(lse_CBHq, dim=0)
    share = (lse_CBHq - lse.masked_fill(lse == -math.inf, 0.0)).exp()
    kept = torch.where(share[..., None] > 0, o_CBHqD, 0.0)
    return torch.einsum("cbhd,cbh->bhd", kept, share), lse


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):
    check_attention(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, q_BHqD.shape[0])
    need(n_splits >= 1)
    factor = q_BHqD.shape[2] ** -0.5 if scale is None else scale
    outs, lses = [], []
    for c in range(n_splits):
        o = torch.zeros(q_BHqD.shape)
        lse = torch.full(q_BHqD.shape[:2], -math.inf)
        for b, length in enumerate(lengths_B.tolist()):
            step = up(length, n_splits)
            first, last = min(c * step, length), min((c + 1) * step, length)
            if last > first:
                k, v = (take(x, table_BL[b], first, last) for x in (k_PNHD, v_PNHD))
                part = attend(q_BHqD[b : b + 1], k, v, factor)
                o[b], lse[b] = part[0][0], part[1][0]
        outs.append(o)
        lses.append(lse)
    out, lse = merge_splits(torch.stack(outs), torch.stack(lses))
    return out.to(q_BHqD.dtype), lse


class PrefixCache:
    """An entry is (block, hash, tokens, entry before); a list per block says what is entered."""

    def __init__(self, n_blocks, block_size, hash_fn):
        need(n_blocks >= 1 and block_size >= 1)
        self.size, self.hash_fn = block_size, hash_fn
        self.blocks = BlockAllocator(n_blocks)
        self.entries = {}

    @property
    def n_free(self):
        return self.blocks.n_free

    def look_up(self, hash_, tokens, before):
        entry = self.entries.get(hash_)
        if entry is not None and entry[2] == tokens and entry[3] is before:
            return entry
        return None

    def allocate(self, tokens):
        need(tokens)
        chunks, hashes = [], []
        for i in range(len(tokens) // self.size):
            chunks.append(tuple(tokens[i * self.size : (i + 1) * self.size]))
            hashes.append(self.hash_fn(hashes[-1] if hashes else 0, chunks[-1]))
        hits, before = [], None
        for hash_, chunk in list(zip(hashes, chunks, strict=True))[
            : (len(tokens) - 1) // self.size
        ]:
            found = self.look_up(hash_, chunk, before)
            if found is None:
                break
            hits.append(found)
            before = found
        idle = [entry[0] for entry in hits if self.blocks.count(entry[0]) == 0]
        missing = up(len(tokens), self.size) - len(hits)
        if missing > self.n_free - len(idle):
            raise RuntimeError("too few blocks")
        for block in idle:
            del self.blocks.stamps[block]
        for entry in hits:
            self.blocks.holders[entry[0]] = self.blocks.count(entry[0]) + 1
        table = [entry[0] for entry in hits]
        for block in self.blocks.allocate(missing):
            self.forget(block)
            if len(table) < len(chunks):
                before = self.enter(block, hashes[len(table)], chunks[len(table)], before)
            table.append(block)
        return table, len(hits) * self.size

    def forget(self, block):
        hash_ = self.__dict__.setdefault("hash_of", {}).pop(block, None)
        if hash_ is not None and self.entries[hash_][0] == block:
            del self.entries[hash_]

    def enter(self, block, hash_, chunk, before):
        found = self.look_up(hash_, chunk, before)
        if found is None:
            found = (block, hash_, chunk, before)
            if hash_ in self.entries:
                del self.hash_of[self.entries[hash_][0]]
            self.entries[hash_] = found
            self.hash_of[block] = hash_
        return found

    def release(self, blocks):
        self.blocks.release(blocks[::-1])


class ForkingCache:
    """One row of tokens; a table maps positions to slots."""

    def __init__(
        self, n_blocks, block_size, n_kv_heads, head_dim, *, dtype=torch.float32, device="cpu"
    ):
        need(min(n_blocks, block_size, n_kv_heads, head_dim) >= 1)
        self.size, self.blocks = block_size, BlockAllocator(n_blocks)
        shape = (n_blocks * block_size, n_kv_heads, head_dim)
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self.live, self.born = {}, 0

    @property
    def n_free(self):
        return self.blocks.n_free

    def get(self, sequence):
        need(sequence in self.live)
        return self.live[sequence]

    def add(self, table, length):
        self.live[self.born] = (table, length)
        self.born += 1
        return self.born - 1

    def create(self):
        return self.add((), 0)

    def fork(self, sequence):
        table, length = self.get(sequence)
        for block in table:
            self.blocks.share(block)
        return self.add(table, length)

    def slots(self, table, first, last):
        return slots_of(torch.tensor(table, dtype=torch.int64), first, last, self.size)

    def append(self, sequence, k_THD, v_THD):
        table, length = self.get(sequence)
        for x in (k_THD, v_THD):
            need(x.dim() == 3 and x.shape[1:] == self.k.shape[1:] and x.dtype == self.k.dtype)
        need(k_THD.shape == v_THD.shape)
        count = k_THD.shape[0]
        if not count:
            return
        kept = length // self.size
        torn = length % self.size and self.blocks.count(table[-1]) > 1
        if not torn:
            kept = len(table)
        fresh = self.blocks.allocate(up(length + count, self.size) - kept)
        new = (*table[:kept], *fresh)
        if torn:
            border = kept * self.size
            old_slots, new_slots = (self.slots(t, border, length) for t in (table, new))
            for x in (self.k, self.v):
                x[new_slots] = x[old_slots]
            self.blocks.release([table[-1]])
        where = self.slots(new, length, length + count)
        self.k[where], self.v[where] = k_THD, v_THD
        self.live[sequence] = (new, length + count)

    def gather(self, sequence):
        table, length = self.get(sequence)
        where = self.slots(table, 0, length)
        return self.k[where], self.v[where]

    def release(self, sequence):
        table, _ = self.get(sequence)
        self.blocks.release(list(table))
        del self.live[sequence]


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    need(starts_B1.dtype == torch.int64 and starts_B1.dim() == 1 and len(starts_B1) >= 1)
    check_attention(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B, len(starts_B1) - 1)
    starts = starts_B1.tolist()
    need(starts[0] == 0 and starts[-1] == len(q_THqD))
    need(starts == sorted(starts))
    factor = q_THqD.shape[2] ** -0.5 if scale is None else scale
    out = torch.zeros(q_THqD.shape, dtype=q_THqD.dtype)
    for b, length in enumerate(lengths_B.tolist()):
        rows = slice(starts[b], starts[b + 1])
        count = starts[b + 1] - starts[b]
        if count and length:
            k, v = (take(x, table_BL[b], 0, length) for x in (k_PNHD, v_PNHD))
            own = torch.arange(length - count, length)
            visible = torch.arange(length) <= own[:, None]
            out[rows] = attend(q_THqD[rows], k, v, factor, visible)[0].to(out.dtype)
    return out


class Scheduler:
    """State of a request: "waiting", "running", "ended"; everything else is derived from it."""

    def __init__(self, n_blocks, block_size, *, max_running, eos_id):
        need(n_blocks >= 1 and block_size >= 1 and max_running >= 1)
        self.n_blocks, self.size, self.n_free = n_blocks, block_size, n_blocks
        self.max_running, self.eos_id = max_running, eos_id
        self.texts, self.limits, self.states, self.held = {}, {}, {}, {}
        self.due = frozenset()

    def named(self, state):
        return [number for number in self.texts if self.states[number] == state]

    def hold(self, number, blocks):
        self.n_free += self.held.pop(number, 0) - blocks
        if blocks:
            self.held[number] = blocks

    def add(self, request, prompt, max_new_tokens):
        need(request not in self.texts and prompt and max_new_tokens >= 1)
        need(up(len(prompt) + max_new_tokens - 1, self.size) <= self.n_blocks)
        self.texts[request] = list(prompt)
        self.limits[request] = len(prompt) + max_new_tokens
        self.states[request] = "waiting"

    def wants(self, number):
        return up(len(self.texts[number]), self.size)

    def step(self):
        if self.due:
            raise RuntimeError("commit first")
        plan = {"admitted": [], "decoded": [], "preempted": []}
        for number in self.named("running"):
            while self.states[number] == "running" and self.lacks(number):
                newest = self.named("running")[-1]
                self.states[newest] = "waiting"
                self.hold(newest, 0)
                plan["preempted"].append(newest)
            if self.states[number] == "running":
                self.hold(number, self.wants(number))
        plan["decoded"] = self.named("running")
        for number in [] if plan["preempted"] else self.named("waiting"):
            if len(self.held) == self.max_running or self.wants(number) > self.n_free:
                break
            self.hold(number, self.wants(number))
            self.states[number] = "running"
            plan["admitted"].append(number)
        self.due = frozenset(self.named("running"))
        return plan

    def lacks(self, number):
        return self.wants(number) - self.held[number] > self.n_free

    def commit(self, tokens):
        need(sorted(number for number, _ in tokens) == sorted(self.due))
        for number, token in tokens:
            self.texts[number].append(token)
        self.due = frozenset()
        ended = [
            number
            for number in self.named("running")
            if self.texts[number][-1] == self.eos_id
            or len(self.texts[number]) == self.limits[number]
        ]
        for number in ended:
            self.states[number] = "ended"
            self.hold(number, 0)
        return ended

    def tokens(self, request):
        need(request in self.texts)
        return list(self.texts[request])
