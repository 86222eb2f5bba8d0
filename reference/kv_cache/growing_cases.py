"""Cases of `KVCache`.

Takes: `Draw`. Gives: case makers. Does not cover: how time and memory grow.
"""

import math
from dataclasses import dataclass

import torch

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Expect,
    Factors,
    New,
    OverwriteArguments,
    Raises,
    Ref,
    Row,
    case,
)

from .inputs import DTYPES, LAYOUTS, Pair, joined, laid_out, plain_pair, sizes, strided_pair

SPECIAL = (math.nan, math.inf, -math.inf, 1e-41, -0.0)

GROWING = Factors(
    "KVCache",
    {
        "dtype": DTYPES,
        "sizes": ((2, 3, 5), (1, 1, 1)),
        "room": ("left out", 0, 1, 70),
        "before": (
            "nothing",
            "a chunk",
            "a rewind",
            "a rewind to 0",
            "a refused chunk",
            "a refused rewind",
        ),
        "chunk": (
            "one token",
            "no tokens",
            "fills the room",
            "one more than the room",
            "more than twice the room",
        ),
        "then": ("one by one", "a rewind and a chunk", "a refusal and a token", "from 0 again"),
        "caller": ("keeps its tensors", "overwrites them"),
        "numbers": ("plain", "NaN and inf", "-0.0 and denormal"),
        "k": LAYOUTS,
        "v": LAYOUTS,
    },
)
"""Room: the capacity that is asked for. Before and then: what is done before and after a chunk."""


@case("KVCache", "append_chunks", public=4, hidden=4)
def append_chunks(draw: Draw) -> CaseSteps:
    """Append a sequence in chunks: keys and values are the whole sequence, bit for bit.

    All dtypes, any strides, with infinities and NaN among the numbers.
    """
    rows, heads, dim = (2, 2, 3) if draw.index == 0 else sizes(draw)
    dtype = DTYPES[(draw.index + 2) % 3 if draw.index else 0]
    chunks = [3, 2, 5] if draw.index == 0 else draw.split(draw.integer(7, 23), draw.integer(2, 6))
    cache = yield New("KVCache", rows, heads, dim, dtype=dtype)
    pairs = []
    for count in chunks:
        k, v = strided_pair(draw, rows, heads, count, dim, dtype=dtype)
        if draw.index % 2:
            k[0, 0, 0, 0] = draw.choice(SPECIAL)
            v[-1, -1, -1, -1] = draw.choice(SPECIAL)
        pairs.append((k, v))
        yield Call(cache, "append", k, v)
        keys, values = joined(pairs)
        got = yield Call(cache, "keys")
        yield Expect(got, keys, label=f"keys after {len(pairs)} chunks", exact=True)
        got = yield Call(cache, "values")
        yield Expect(got, values, label=f"values after {len(pairs)} chunks", exact=True)
    length = yield Call(cache, "length")
    yield Expect(length, sum(chunks), label="length")


@case("KVCache", "empty_append", hidden=2)
def empty_append(draw: Draw) -> CaseSteps:
    """A new cache holds [B, H, 0, D]; appending no tokens changes nothing."""
    rows, heads, dim = sizes(draw)
    count = draw.integer(1, 6)
    cache = yield New("KVCache", rows, heads, dim, capacity=draw.choice((0, 4)))
    nothing = torch.empty(rows, heads, 0, dim)
    got = yield Call(cache, "keys")
    yield Expect(got, nothing, label="keys of a new cache")
    yield Call(cache, "append", nothing, nothing)
    length = yield Call(cache, "length")
    yield Expect(length, 0, label="length after an empty append")
    k, v = plain_pair(draw, rows, heads, count, dim)
    yield Call(cache, "append", k, v)
    yield Call(cache, "append", nothing, nothing)
    got = yield Call(cache, "values")
    yield Expect(got, v, label="values after another empty append", exact=True)


@case("KVCache", "owns_memory", hidden=2)
def owns_memory(draw: Draw) -> CaseSteps:
    """The caller overwrites its buffers after each append: the cache must not notice."""
    rows, heads, dim = sizes(draw)
    cache = yield New("KVCache", rows, heads, dim)
    pairs = []
    for count in (draw.integer(2, 5), 1, draw.integer(1, 4)):
        pairs.append(plain_pair(draw, rows, heads, count, dim))
        yield Call(cache, "append", *pairs[-1])
        yield OverwriteArguments()
        keys, values = joined(pairs)
        got = yield Call(cache, "keys")
        yield Expect(got, keys, label="keys after the caller's buffer changed", exact=True)
        got = yield Call(cache, "values")
        yield Expect(got, values, label="values after the caller's buffer changed", exact=True)


@case("KVCache", "truncate", public=1, hidden=3)
def truncate(draw: Draw) -> CaseSteps:
    """Rewind, then append: new tokens follow the ones that were kept. Rewinding to 0 is allowed."""
    rows, heads, dim = sizes(draw)
    total = draw.integer(5, 12)
    keep = 0 if draw.index == 1 else draw.integer(1, total - 1)
    cache = yield New("KVCache", rows, heads, dim)
    first = plain_pair(draw, rows, heads, total, dim)
    yield Call(cache, "append", *first)
    yield Call(cache, "truncate", total)
    yield Call(cache, "truncate", keep)
    kept = (first[0][:, :, :keep], first[1][:, :, :keep])
    got = yield Call(cache, "keys")
    yield Expect(got, kept[0], label="keys after the rewind", exact=True)
    second = plain_pair(draw, rows, heads, draw.integer(1, 4), dim)
    yield Call(cache, "append", *second)
    keys, values = joined([kept, second])
    got = yield Call(cache, "keys")
    yield Expect(got, keys, label="keys after rewind and append", exact=True)
    got = yield Call(cache, "values")
    yield Expect(got, values, label="values after rewind and append", exact=True)
    for bad in (-1, keys.shape[2] + 1):
        step = Call(cache, "truncate", bad)
        yield Raises(step, "ValueError", f"truncate({bad}) of {keys.shape[2]} tokens")
    length = yield Call(cache, "length")
    yield Expect(length, keys.shape[2], label="length after refused rewinds")


@case("KVCache", "growth", hidden=3)
def growth(draw: Draw) -> CaseSteps:
    """`capacity` doubles, or jumps to what is needed; only an append that does not fit moves it.

    A rewind and a refused chunk leave it.
    """
    start = 0 if draw.index == 0 else draw.integer(1, 5)
    cache = yield New("KVCache", 1, 1, 2, capacity=start)
    capacity, length = start, 0
    chunks = [1] * draw.integer(9, 18)
    chunks[draw.integer(3, 6)] = draw.integer(20, 40)
    for count in chunks:
        yield Call(cache, "append", *plain_pair(draw, 1, 1, count, 2))
        length += count
        if length > capacity:
            capacity = max(2 * capacity, length)
        got = yield Call(cache, "capacity")
        yield Expect(got, capacity, label=f"capacity with {length} tokens")
    yield Call(cache, "truncate", draw.integer(1, 2))
    got = yield Call(cache, "capacity")
    yield Expect(got, capacity, label="capacity after a rewind")
    k, v = plain_pair(draw, 1, 1, capacity + 1, 2)
    yield Raises(Call(cache, "append", k, v[:, :, 1:]), "ValueError", "append: one value less")
    got = yield Call(cache, "capacity")
    yield Expect(got, capacity, label="capacity after a refused chunk")


@case("KVCache", "failed_append", hidden=2)
def failed_append(draw: Draw) -> CaseSteps:
    """A chunk that does not fit raises ValueError, and the cache is as before."""
    rows, heads, dim = draw.integer(2, 3), draw.integer(2, 3), draw.choice((4, 6))
    count = draw.integer(3, 4)
    cache = yield New("KVCache", rows, heads, dim)
    first = plain_pair(draw, rows, heads, draw.integer(2, 5), dim)
    yield Call(cache, "append", *first)
    k, v = plain_pair(draw, rows, heads, count, dim)
    bad = [
        ("values with one token less", k, v[:, :, 1:]),
        ("values of one token only", k, v[:, :, :1]),
        ("values of one row only", k, v[:1]),
        ("values of one head only", k, v[:, :1]),
        ("values with half the head dimension", k, v[..., : dim // 2]),
        ("keys of another dtype", k.to(torch.float16), v),
        ("values of another dtype", k, v.to(torch.float64)),
        ("keys without a token dimension", k[:, :, 0], v),
        ("no token dimension", k[:, :, 0], v[:, :, 0]),
        ("a dimension more", k[:, :, None], v[:, :, None]),
        ("a dimension more at the end", k[..., None], v[..., None]),
    ]
    for what, bad_k, bad_v in draw.shuffled(bad):
        yield Raises(Call(cache, "append", bad_k, bad_v), "ValueError", f"append: {what}")
        length = yield Call(cache, "length")
        yield Expect(length, first[0].shape[2], label=f"length after {what}")
    yield Call(cache, "append", k, v)
    keys, values = joined([first, (k, v)])
    got = yield Call(cache, "keys")
    yield Expect(got, keys, label="keys after refused chunks and a good one", exact=True)
    got = yield Call(cache, "values")
    yield Expect(got, values, label="values after refused chunks and a good one", exact=True)
    for what, sizes_given in (("rows", (0, 2, 4)), ("heads", (2, 0, 4)), ("numbers", (2, 2, 0))):
        yield Raises(New("KVCache", *sizes_given), "ValueError", f"a cache without {what}")
    yield Raises(New("KVCache", 2, 2, 4, capacity=-1), "ValueError", "a capacity of -1")


@dataclass(slots=True)
class _Cache:
    """A cache, and what it must hold."""

    ref: Ref
    draw: Draw
    row: Row
    room: int
    pairs: list[Pair]

    @property
    def length(self) -> int:
        return sum(k.shape[2] for k, _ in self.pairs)

    def append(self, count: int) -> CaseSteps:
        """Append tokens, and expect the room to follow the rule."""
        self.pairs.append(_chunk(self.draw, self.row, count))
        yield Call(self.ref, "append", *self.pairs[-1])
        if self.row["caller"] == "overwrites them":
            yield OverwriteArguments()
        if self.length > self.room:
            self.room = max(2 * self.room, self.length)

    def truncate(self, length: int) -> CaseSteps:
        """Keep the first tokens."""
        yield Call(self.ref, "truncate", length)
        k, v = joined(self.pairs)
        self.pairs = [(k[:, :, :length], v[:, :, :length])]

    def refuse(self, what: str) -> CaseSteps:
        """Offer a chunk, or a length, that must be refused."""
        step = Call(self.ref, "truncate", self.draw.choice((-1, self.length + 1)))
        if what == "a chunk":
            k, v = _chunk(self.draw, self.row, self.room + 2)
            other = torch.float64 if self.draw.integer(0, 1) else k.dtype
            bad = (k[:, :, 1:], v) if other == k.dtype else (k, v.to(other))
            step = Call(self.ref, "append", *bad)
        yield Raises(step, "ValueError", f"refusal of {what}")

    def expect(self, when: str, *names: str) -> CaseSteps:
        """Compare what the cache tells."""
        keys, values = joined(self.pairs)
        wanted = {"keys": keys, "values": values, "length": self.length, "capacity": self.room}
        for name in names:
            want = wanted[name]
            got = yield Call(self.ref, name)
            yield Expect(got, want, label=f"{name} {when}", exact=True)


def _chunk(draw: Draw, row: Row, count: int) -> Pair:
    """Return keys and values of some tokens, as the row wants them."""
    rows, heads, dim = row["sizes"]
    special = {"plain": (), "NaN and inf": SPECIAL[:3], "-0.0 and denormal": SPECIAL[3:]}
    parts = []
    for name in ("k", "v"):
        x = draw.normal_tensor(rows, heads, count, dim)
        for number in special[row["numbers"]]:
            x.masked_fill_(draw.uniform_tensor(*x.shape) < 0.2, number)
        parts.append(laid_out(x.to(row["dtype"]), row[name]))
    return parts[0], parts[1]


def _do_before(cache: _Cache) -> CaseSteps:
    """Bring the cache to the state in which the chunk finds it."""
    before, draw = cache.row["before"], cache.draw
    if before == "nothing":
        return
    yield from cache.append(draw.integer(4, 6))
    match before:
        case "a rewind":
            yield from cache.truncate(draw.integer(1, 3))
        case "a rewind to 0":
            yield from cache.truncate(0)
        case "a refused chunk":
            yield from cache.refuse("a chunk")
        case "a refused rewind":
            yield from cache.refuse("a rewind")


def _do_then(cache: _Cache) -> CaseSteps:
    """Go on after the chunk."""
    match cache.row["then"]:
        case "one by one":
            for _ in range(3):
                yield from cache.append(1)
        case "a rewind and a chunk":
            yield from cache.truncate(cache.length // 2)
            yield from cache.append(2)
        case "a refusal and a token":
            yield from cache.refuse(cache.draw.choice(("a chunk", "a rewind")))
            yield from cache.append(1)
        case "from 0 again":
            yield from cache.truncate(0)
            yield from cache.append(3)


@case("KVCache", "combinations", public=2, hidden=4, factors=GROWING)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, strides, room, refusals and rewinds before a chunk and after it.

    Chunks that are empty, fill the room, or need one token more or more than twice as much.
    """
    given = {} if row["room"] == "left out" else {"capacity": row["room"]}
    ref = yield New("KVCache", *row["sizes"], dtype=row["dtype"], **given)
    nothing = torch.empty(*row["sizes"][:2], 0, row["sizes"][2], dtype=row["dtype"])
    cache = _Cache(ref, draw, row, given.get("capacity", 0), [(nothing, nothing)])
    yield from _do_before(cache)
    left = cache.room - cache.length
    counts = {
        "one token": 1,
        "no tokens": 0,
        "fills the room": left or 1,
        "one more than the room": left + 1,
        "more than twice the room": left + cache.room + 1,
    }
    yield from cache.append(counts[row["chunk"]])
    yield from cache.expect("after the chunk", "keys", "capacity")
    yield from _do_then(cache)
    yield from cache.expect("at the end", "keys", "values", "length", "capacity")
