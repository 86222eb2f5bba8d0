"""Cases of `SlidingWindowCache`.

Takes: `Draw`. Gives: case makers. Does not cover: the cost of an append.
"""

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

from .inputs import DTYPES, LAYOUTS, Pair, joined, laid_out, plain_pair, strided_pair
from .oracle import ring_contents, ring_mask

_BAD_SIZES = [
    ("a cache without rows", New("SlidingWindowCache", 0, 1, 2, window=3)),
    ("a cache without heads", New("SlidingWindowCache", 1, 0, 2, window=3)),
    ("vectors without numbers", New("SlidingWindowCache", 1, 1, 0, window=3)),
    ("a window of 0", New("SlidingWindowCache", 1, 1, 2, window=0, n_sinks=2)),
    ("-1 sinks", New("SlidingWindowCache", 1, 1, 2, window=3, n_sinks=-1)),
]

RING = Factors(
    "SlidingWindowCache",
    {
        "dtype": DTYPES,
        "sizes": ((2, 3, 5), (1, 1, 1)),
        "window": (4, 1, 2, 65),
        "sinks": ("left out", 0, 1, 3),
        "before": (
            "nothing",
            "some tokens",
            "just full",
            "wrapped",
            "wrapped and back at the sinks",
            "wrapped, back and filled in part",
        ),
        "chunk": (
            "one token",
            "no tokens",
            "the window",
            "one more than the window",
            "sinks and two windows and more",
        ),
        "then": ("one by one", "one back", "back to the sinks", "back to 0", "refusals"),
        "queries": ("one", "some", "all"),
        "caller": ("keeps its tensors", "overwrites them"),
        "k": LAYOUTS,
        "v": LAYOUTS,
    },
)
"""Before and then: what is done before and after a chunk."""


def _expect_ring(cache: Ref, pair: Pair, window: int, n_sinks: int, length: int) -> CaseSteps:
    """Compare keys, values and positions after `length` tokens of `pair`."""
    slots = ring_contents(length, window, n_sinks)
    after = f"after {length} tokens, window {window}, {n_sinks} sinks"
    got = yield Call(cache, "positions")
    yield Expect(got, torch.tensor(slots, dtype=torch.int64), label=f"positions {after}")
    got = yield Call(cache, "keys")
    yield Expect(got, pair[0][:, :, slots], label=f"keys {after}", exact=True)
    got = yield Call(cache, "values")
    yield Expect(got, pair[1][:, :, slots], label=f"values {after}", exact=True)


def _append_singly(cache: Ref, pair: Pair, first: int, last: int) -> CaseSteps:
    for t in range(first, last):
        yield Call(cache, "append", pair[0][:, :, t : t + 1], pair[1][:, :, t : t + 1])


@case("SlidingWindowCache", "ring", public=3, hidden=3)
def ring(draw: Draw) -> CaseSteps:
    """Chunks no longer than the window, also across its end: W - 1, W, W + 1, 2W tokens, more."""
    rows, heads, dim = draw.integer(1, 2), draw.integer(1, 2), draw.choice((2, 3, 5))
    window = 1 if draw.index == 2 else draw.integer(3, 6)
    dtype = DTYPES[draw.index % 3]
    cache = yield New("SlidingWindowCache", rows, heads, dim, window=window, dtype=dtype)
    pairs, length = [], 0
    steps = [window - 1, 1, 1, window - 1]
    steps += [draw.integer(0, window) for _ in range(3)]
    for count in [*steps, window]:
        k, v = strided_pair(draw, rows, heads, count, dim, dtype=dtype)
        pairs.append((k, v))
        yield Call(cache, "append", k, v)
        yield OverwriteArguments()
        length += count
        yield from _expect_ring(cache, joined(pairs), window, 0, length)
    got = yield Call(cache, "length")
    yield Expect(got, length, label="length")


@case("SlidingWindowCache", "sinks", public=1, hidden=2)
def sinks(draw: Draw) -> CaseSteps:
    """The first tokens stay for ever, also if they come one at a time."""
    window, n_sinks = draw.integer(2, 5), draw.integer(2, 4)
    total = n_sinks + 2 * window + draw.integer(1, 3)
    cache = yield New("SlidingWindowCache", 1, 2, 3, window=window, n_sinks=n_sinks)
    pair = plain_pair(draw, 1, 2, total, 3)
    for length in range(1, total + 1):
        yield from _append_singly(cache, pair, length - 1, length)
        if length in (1, n_sinks, n_sinks + window, n_sinks + window + 1, total):
            yield from _expect_ring(cache, pair, window, n_sinks, length)


@case("SlidingWindowCache", "long_chunk", public=1, hidden=4)
def long_chunk(draw: Draw) -> CaseSteps:
    """A chunk longer than the window leaves its newest tokens, each in its own slot."""
    window = draw.integer(2, 5)
    n_sinks = 0 if draw.index % 2 == 0 else draw.integer(1, 3)
    before = 0 if draw.index < 2 else n_sinks + draw.integer(1, window + 2)
    count = n_sinks + window * draw.integer(1, 3) + draw.integer(1, window - 1)
    cache = yield New("SlidingWindowCache", 2, 1, 2, window=window, n_sinks=n_sinks)
    pair = plain_pair(draw, 2, 1, before + count + 1, 2)
    if before >= n_sinks and before > 0:  # sinks in one piece, the others one by one
        start = max(n_sinks, 1)
        yield Call(cache, "append", pair[0][:, :, :start], pair[1][:, :, :start])
        yield from _append_singly(cache, pair, start, before)
    end = before + count
    yield Call(cache, "append", pair[0][:, :, before:end], pair[1][:, :, before:end])
    yield from _expect_ring(cache, pair, window, n_sinks, end)
    yield from _append_singly(cache, pair, end, end + 1)
    yield from _expect_ring(cache, pair, window, n_sinks, end + 1)


@case("SlidingWindowCache", "mask", public=2, hidden=3)
def mask(draw: Draw) -> CaseSteps:
    """The mask follows positions, not slots: before the ring is full, and after it has wrapped."""
    window = draw.integer(3, 6)
    n_sinks = 0 if draw.index == 0 else draw.integer(0, 3)
    cache = yield New("SlidingWindowCache", 1, 1, 2, window=window, n_sinks=n_sinks)
    total = n_sinks + 2 * window + draw.integer(1, window - 1)
    pair = plain_pair(draw, 1, 1, total, 2)
    start = max(n_sinks, 1)
    yield Call(cache, "append", pair[0][:, :, :start], pair[1][:, :, :start])
    length = start
    for stop in (n_sinks + window - 1, n_sinks + window + 1, total):
        yield from _append_singly(cache, pair, length, stop)
        length = stop
        for n_queries in sorted({1, min(2, length), window - 1, min(window + 1, length)}):
            got = yield Call(cache, "mask", n_queries)
            want = ring_mask(length, window, n_sinks, n_queries)
            label = f"mask of {n_queries} queries after {length} tokens"
            yield Expect(got, want, label=label)


@case("SlidingWindowCache", "truncate", public=1, hidden=3)
def truncate(draw: Draw) -> CaseSteps:
    """Rewind while nothing has been overwritten, or down to the sinks, and go on from there."""
    window, n_sinks = draw.integer(3, 5), draw.integer(1, 3)
    cache = yield New("SlidingWindowCache", 1, 1, 2, window=window, n_sinks=n_sinks)
    wrapped = draw.index % 2 == 1
    length = n_sinks + window + (draw.integer(1, window) if wrapped else 0)
    keep = draw.integer(0, n_sinks) if wrapped else draw.integer(1, length - 1)
    pair = plain_pair(draw, 1, 1, length, 2)
    start = n_sinks
    yield Call(cache, "append", pair[0][:, :, :start], pair[1][:, :, :start])
    yield from _append_singly(cache, pair, start, length)
    yield Call(cache, "truncate", length)
    yield Call(cache, "truncate", keep)
    kept = (pair[0][:, :, :keep], pair[1][:, :, :keep])
    yield from _expect_ring(cache, kept, window, n_sinks, keep)
    more = joined([kept, plain_pair(draw, 1, 1, n_sinks + 2, 2)])
    # The rest of the sinks in one piece, then one by one.
    piece = max(n_sinks, keep + 1)
    yield Call(cache, "append", more[0][:, :, keep:piece], more[1][:, :, keep:piece])
    yield from _append_singly(cache, more, piece, keep + n_sinks + 2)
    yield from _expect_ring(cache, more, window, n_sinks, keep + n_sinks + 2)


@case("SlidingWindowCache", "rejects", public=1, hidden=2)
def rejects(draw: Draw) -> CaseSteps:
    """Rewinding into overwritten tokens and chunks that do not fit raise; nothing changes."""
    window, n_sinks = draw.integer(3, 5), draw.integer(1, 2)
    cache = yield New("SlidingWindowCache", 2, 2, 4, window=window, n_sinks=n_sinks)
    length = n_sinks + window + draw.integer(1, window)
    pair = plain_pair(draw, 2, 2, length, 4)
    yield Call(cache, "append", pair[0][:, :, :n_sinks], pair[1][:, :, :n_sinks])
    yield from _append_singly(cache, pair, n_sinks, length)
    for bad in (length - 1, n_sinks + 1, length + 1, -1):
        step = Call(cache, "truncate", bad)
        yield Raises(step, "ValueError", f"truncate({bad}) after {length} tokens")
        got = yield Call(cache, "length")
        yield Expect(got, length, label="length after a refused rewind")
    k, v = plain_pair(draw, 2, 2, 3, 4)
    bad_chunks = [
        ("values of one row only", k, v[:1]),
        ("values with fewer tokens", k, v[:, :, 1:]),
        ("values of another dtype", k, v.half()),
        ("keys of another dtype", k.half(), v),
        ("keys of another head dimension", k[..., :2], v),
        ("values of one token only", k, v[:, :, :1]),
        ("no token dimension", k[:, :, 0], v[:, :, 0]),
        ("a dimension more", k[:, :, None], v[:, :, None]),
    ]
    for what, bad_k, bad_v in draw.shuffled(bad_chunks):
        yield Raises(Call(cache, "append", bad_k, bad_v), "ValueError", f"append: {what}")
    for n_queries in (0, length + 1):
        yield Raises(Call(cache, "mask", n_queries), "ValueError", f"mask({n_queries})")
    yield from _expect_ring(cache, pair, window, n_sinks, length)
    for what, refused in draw.shuffled(_BAD_SIZES):
        yield Raises(refused, "ValueError", what)


@dataclass(slots=True)
class _Ring:
    """A cache, the tokens that were appended and not taken back, and what lies in each slot."""

    ref: Ref
    draw: Draw
    row: Row
    n_sinks: int
    pairs: list[Pair]
    slots: dict[int, int]

    @property
    def length(self) -> int:
        return sum(k.shape[2] for k, _ in self.pairs)

    @property
    def room(self) -> int:
        return self.n_sinks + int(self.row["window"])

    def append(self, count: int) -> CaseSteps:
        """Append tokens in one chunk."""
        (rows, heads, dim), draw, row = self.row["sizes"], self.draw, self.row
        k, v = (draw.normal_tensor(rows, heads, count, dim).to(row["dtype"]) for _ in range(2))
        pair = (laid_out(k, row["k"]), laid_out(v, row["v"]))
        for position in range(self.length, self.length + count):
            behind = position - self.n_sinks
            slot = position if behind < 0 else self.n_sinks + behind % row["window"]
            self.slots[slot] = position
        self.pairs.append(pair)
        yield Call(self.ref, "append", *pair)
        if row["caller"] == "overwrites them":
            yield OverwriteArguments()

    def truncate(self, length: int) -> CaseSteps:
        """Go back; refused if a token of then is no longer in its slot."""
        step = Call(self.ref, "truncate", length)
        held = ring_contents(max(length, 0), self.row["window"], self.n_sinks)
        there = all(self.slots.get(slot) == position for slot, position in enumerate(held))
        if not (0 <= length <= self.length and there):
            yield Raises(step, "ValueError", f"truncate({length}) after {self.length} tokens")
            return
        yield step
        k, v = joined(self.pairs)
        self.pairs = [(k[:, :, :length], v[:, :, :length])]

    def expect(self) -> CaseSteps:
        """Compare everything that the cache tells."""
        length, window, pair = self.length, self.row["window"], joined(self.pairs)
        yield from _expect_ring(self.ref, pair, window, self.n_sinks, length)
        got = yield Call(self.ref, "length")
        yield Expect(got, length, label="length")
        asked = {"one": 1, "some": min(window + 1, length), "all": length}[self.row["queries"]]
        step = Call(self.ref, "mask", asked or 1)
        if not length:
            yield Raises(step, "ValueError", "a mask of an empty cache")
            return
        got = yield step
        label = f"mask({asked}) after {length} tokens"
        yield Expect(got, ring_mask(length, window, self.n_sinks, asked), label=label)


def _fill(ring: _Ring) -> CaseSteps:
    """Bring the ring to the state in which the chunk finds it."""
    before, window, n_sinks = ring.row["before"], ring.row["window"], ring.n_sinks
    totals = {
        "nothing": 0,
        "some tokens": ring.draw.integer(1, ring.room),
        "just full": ring.room,
    }
    total = totals.get(before, ring.room + window // 2 + 1)
    first = ring.draw.integer(0, total)
    for count in (first, total - first):
        yield from ring.append(count)
    if before in ("wrapped and back at the sinks", "wrapped, back and filled in part"):
        yield from ring.truncate(ring.draw.integer(0, n_sinks))
    if before == "wrapped, back and filled in part":
        yield from ring.append(ring.room - ring.length - ring.draw.integer(0, 1))
        yield from ring.truncate(max(ring.length - 1, 0))


def _go_on(ring: _Ring) -> CaseSteps:
    """Do what comes after the chunk."""
    match ring.row["then"]:
        case "one by one":
            for _ in range(3):
                yield from ring.append(1)
        case "one back":
            yield from ring.truncate(ring.length - 1)
        case "back to the sinks":
            yield from ring.truncate(min(ring.n_sinks, ring.length))
        case "back to 0":
            yield from ring.truncate(0)
        case "refusals":
            for length in (-1, ring.n_sinks + 1, ring.length - 2, ring.length + 1):
                if length > ring.length or length < 0 or ring.length > ring.room:
                    yield from ring.truncate(length)
    yield from ring.append(ring.draw.integer(1, 2))


@case("SlidingWindowCache", "combinations", public=2, hidden=4, factors=RING)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, strides, windows, sinks, chunks of all lengths, rewinds.

    A rewind is refused only if a token that it needs is overwritten at that moment: a ring that
    was full, went back to its sinks and was filled in part may go back again.
    """
    given = {} if row["sinks"] == "left out" else {"n_sinks": row["sinks"]}
    window, dtype = row["window"], row["dtype"]
    ref = yield New("SlidingWindowCache", *row["sizes"], window=window, dtype=dtype, **given)
    nothing = torch.empty(*row["sizes"][:2], 0, row["sizes"][2], dtype=dtype)
    ring = _Ring(ref, draw, row, given.get("n_sinks", 0), [(nothing, nothing)], {})
    yield from _fill(ring)
    counts = {
        "one token": 1,
        "no tokens": 0,
        "the window": window,
        "one more than the window": window + 1,
        "sinks and two windows and more": ring.n_sinks + 2 * window + draw.integer(1, window),
    }
    yield from ring.append(counts[row["chunk"]])
    yield from ring.expect()
    yield from _go_on(ring)
    yield from ring.expect()
