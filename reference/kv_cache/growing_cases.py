"""Cases of `KVCache`.

Takes: `Draw`. Gives: case makers. Does not cover: how time and memory grow.
"""

import math

import torch

from grader.author import Call, CaseSteps, Draw, Expect, New, OverwriteArguments, Raises, case

from .inputs import DTYPES, joined, plain_pair, sizes, strided_pair

SPECIAL = (math.nan, math.inf, -math.inf, 1e-41, -0.0)


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


@case("KVCache", "truncate", public=1, hidden=4)
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


@case("KVCache", "failed_append", hidden=3)
def failed_append(draw: Draw) -> CaseSteps:
    """A chunk that does not fit raises ValueError, and the cache is as before."""
    rows, heads, dim = draw.integer(2, 3), draw.integer(2, 3), draw.choice((4, 6))
    count = draw.integer(2, 4)
    cache = yield New("KVCache", rows, heads, dim)
    first = plain_pair(draw, rows, heads, draw.integer(2, 5), dim)
    yield Call(cache, "append", *first)
    k, v = plain_pair(draw, rows, heads, count, dim)
    bad = [
        ("values with one token less", k, v[:, :, 1:]),
        ("values of one row only", k, v[:1]),
        ("values of one head only", k, v[:, :1]),
        ("values with half the head dimension", k, v[..., : dim // 2]),
        ("keys of another dtype", k.to(torch.float16), v),
        ("values of another dtype", k, v.to(torch.float64)),
        ("keys without a token dimension", k[:, :, 0], v),
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
