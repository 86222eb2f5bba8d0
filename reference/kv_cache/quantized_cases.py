"""Cases of `QuantizedKVCache`.

Takes: `Draw`. Gives: case makers. Does not cover: memory while attending.

Numbers that would round either way are set to zero, so that int8 contents can be compared exactly.
"""

import torch

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Excluded,
    Expect,
    Factors,
    New,
    OverwriteArguments,
    Raises,
    Ref,
    Row,
    case,
)

from .inputs import DTYPES, LAYOUTS, Pair, joined, laid_out, powers_of_two
from .oracle import attention, dequantised, quantised

Tensor = torch.Tensor

COARSE_SCORE = 100.0
"""Added to scores in half dtypes, which are 0.06 (float16) and 0.5 (bfloat16) apart there."""

TIE_DISTANCE = 0.01
"""Nearest allowed distance of x / scale from a number halfway between two integers."""

MANY_TOKENS = 256

FAR_SCORES = ("far from 0", "far from 0, then near 0")
"""exp overflows: of a score itself, or of what it falls by from one tile to another."""

QUANTIZED = Factors(
    "QuantizedKVCache",
    {
        "dtype": DTYPES,
        "tokens": (1, 64, 65, 130, MANY_TOKENS, 600),
        "queries": (1, 3, 17, 65),
        "group": (1, 3, 4),
        "heads": (1, 2),
        "dim": (16, 1, 33),
        "scores": ("even", "rising", "falling", *FAR_SCORES),
        "chunks": ("one", "one and a token", "several and an empty one"),
        "before": ("nothing", "a refused chunk", "a refused query"),
        "vectors": ("all different", "some of zeros", "outliers"),
        "q": LAYOUTS,
        "k": LAYOUTS,
        "v": LAYOUTS,
    },
    excluded=(
        Excluded(
            "there are at most as many queries as tokens",
            lambda row: row["queries"] > row["tokens"],
        ),
        Excluded(
            "several tiles show what they show with one head and D = 16; more costs time",
            lambda row: row["tokens"] >= MANY_TOKENS and (row["heads"] > 1 or row["dim"] != 16),
        ),
        Excluded(
            "a score near 100 is rounded once per column: with many, no tolerance would be left",
            lambda row: row["scores"] in FAR_SCORES and row["dim"] > 16,
        ),
    ),
)
"""Tokens: usual blocks have 64 to 256."""

RISE = 12.0
"""From the first to the last score of a row: each tile has a larger maximum than those before."""

_BAD_SIZES = [
    ("a cache without rows", New("QuantizedKVCache", 0, 2, 4)),
    ("a cache without heads", New("QuantizedKVCache", 2, 0, 4)),
    ("vectors without numbers", New("QuantizedKVCache", 2, 2, 0)),
]


def _clear_of_ties(x: Tensor) -> Tensor:
    largest = x.double().abs().amax(dim=-1, keepdim=True).clamp(min=1e-30)
    steps = x.double().abs() / (largest / 127)
    near = ((steps - steps.floor()) - 0.5).abs() < TIE_DISTANCE
    return x.masked_fill(near, 0.0)


def _pair(draw: Draw, *shape: int, dtype: torch.dtype = torch.float32) -> Pair:
    """Return k and v whose heads, tokens and channels differ by orders of magnitude."""
    rows, heads, count, dim = shape
    parts = []
    for _ in range(2):
        x = draw.normal_tensor(rows, count, heads, dim).transpose(1, 2)
        x = x * powers_of_two(draw, rows, heads, count, 1, low=-3, high=3)
        x[..., draw.integer(0, dim - 1)] *= 8.0  # an outlier channel
        parts.append(_clear_of_ties(x.to(dtype)))
    return parts[0], parts[1]


@case("QuantizedKVCache", "error_bound", public=3, hidden=3)
def error_bound(draw: Draw) -> CaseSteps:
    """Keys and values come back within max|x| / 254 of each vector, in any chunks and dtype."""
    rows, heads, dim = draw.integer(1, 2), draw.integer(1, 3), draw.choice((5, 16, 32))
    dtype = DTYPES[draw.index % 3]
    cache = yield New("QuantizedKVCache", rows, heads, dim, dtype=dtype)
    pairs = []
    for count in (draw.integer(2, 6), 0, 1, draw.integer(1, 4)):
        pairs.append(_pair(draw, rows, heads, count, dim, dtype=dtype))
        yield Call(cache, "append", *pairs[-1])
        yield OverwriteArguments()
    keys, values = joined(pairs)
    got = yield Call(cache, "keys")
    yield Expect(got, keys, label="keys", per_row=True)
    got = yield Call(cache, "values")
    yield Expect(got, values, label="values", per_row=True)
    got = yield Call(cache, "length")
    yield Expect(got, keys.shape[2], label="length")


@case("QuantizedKVCache", "storage", public=3, hidden=3)
def storage(draw: Draw) -> CaseSteps:
    """What is stored: int8 numbers, and one float32 scale per row, head and token."""
    rows, heads, dim = draw.integer(1, 2), draw.integer(2, 3), draw.choice((6, 16))
    dtype = DTYPES[draw.index % 3]
    cache = yield New("QuantizedKVCache", rows, heads, dim, dtype=dtype)
    keys, values = _pair(draw, rows, heads, draw.integer(2, 5), dim, dtype=dtype)
    yield Call(cache, "append", keys, values)
    got = yield Call(cache, "packed_keys")
    yield Expect(got, lambda: quantised(keys), label="packed_keys", per_row=True)
    got = yield Call(cache, "packed_values")
    yield Expect(got, lambda: quantised(values), label="packed_values", per_row=True)


@case("QuantizedKVCache", "zero_vectors", hidden=3)
def zero_vectors(draw: Draw) -> CaseSteps:
    """Vectors of zeros come back as zeros with scale 1; constant ones lose nothing."""
    dim, count = draw.choice((4, 7)), draw.integer(3, 5)
    cache = yield New("QuantizedKVCache", 1, 2, dim)
    # 127 times a power of two: the scale is that power, and nothing is rounded.
    powers = powers_of_two(draw, 1, 2, count, 1, low=-6, high=12)
    keys = (127 * powers).expand(1, 2, count, dim).clone()
    keys[0, draw.integer(0, 1), draw.integer(0, count - 1)] = 0.0
    values = -keys
    values[0, 0, 0], values[0, 1, 1, 1:] = 0.0, 0.0
    yield Call(cache, "append", keys, values)
    got = yield Call(cache, "keys")
    yield Expect(got, keys, label="keys", per_row=True)
    got = yield Call(cache, "values")
    yield Expect(got, values, label="values", per_row=True)
    got = yield Call(cache, "packed_values")
    yield Expect(got, lambda: quantised(values), label="packed_values", per_row=True)


@case("QuantizedKVCache", "attend", public=3, hidden=3)
def attend(draw: Draw) -> CaseSteps:
    """Attention over what is stored: grouped heads, one or several new queries, all dtypes.

    In half dtypes scores lie around 100, where rounding keys or scores shows; only the
    result is rounded.
    """
    rows, heads, group = draw.integer(1, 2), draw.integer(2, 3), draw.choice((2, 4))
    dim, stored, dtype = draw.choice((8, 16)), draw.integer(6, 20), DTYPES[draw.index % 3]
    cache = yield New("QuantizedKVCache", rows, heads, dim, dtype=dtype)
    keys, values = _pair(draw, rows, heads, stored, dim, dtype=dtype)
    common = torch.zeros(rows, heads, 1, dim)
    if dtype != torch.float32:
        common = draw.uniform_tensor(rows, heads, 1, dim, low=0.5, high=1.5)
        shift = COARSE_SCORE * dim**0.5 / common.square().sum(dim=-1, keepdim=True) * common
        keys, values = draw.normal_tensor(2, rows, heads, stored, dim)
        keys, values = (_clear_of_ties(x.to(dtype)) for x in (keys + shift, values))
    common = common.repeat_interleave(group, dim=1)
    yield Call(cache, "append", keys, values)
    for count in (1, draw.integer(2, 5), stored):
        q = draw.normal_tensor(rows, count, heads * group, dim, scale=0.3).transpose(1, 2)
        q = (q + common).to(dtype)
        got = yield Call(cache, "attend", q)
        lengths = torch.full((rows,), stored)
        want = attention(q.double(), dequantised(keys), dequantised(values), lengths).to(dtype)
        yield Expect(got, want, label=f"attention of {count} queries over {stored} tokens")


@case("QuantizedKVCache", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Chunks and queries that do not fit raise ValueError, and nothing changes."""
    rows, heads, dim = 2, 2, 4
    cache = yield New("QuantizedKVCache", rows, heads, dim)
    stored = draw.integer(2, 4)
    first = _pair(draw, rows, heads, stored, dim)
    yield Call(cache, "append", *first)
    k, v = _pair(draw, rows, heads, 3, dim)
    q = draw.normal_tensor(rows, 2 * heads, 1, dim)
    bad = [
        ("values of one row only", Call(cache, "append", k, v[:1])),
        ("values with fewer tokens", Call(cache, "append", k, v[:, :, 1:])),
        ("values of another dtype", Call(cache, "append", k, v.half())),
        ("keys of another dtype", Call(cache, "append", k.half(), v)),
        ("keys of another head dimension", Call(cache, "append", k[..., :2], v)),
        ("values of one token only", Call(cache, "append", k, v[:, :, :1])),
        ("a chunk of 3 dimensions", Call(cache, "append", k[:, :, 0], v[:, :, 0])),
        ("a chunk of 5 dimensions", Call(cache, "append", k[..., None], v[..., None])),
        ("a query of 3 dimensions", Call(cache, "attend", q[:, :, 0])),
        ("a query of 5 dimensions", Call(cache, "attend", q[..., None])),
        ("one row of queries for two", Call(cache, "attend", q[:1])),
        ("3 query heads for 2", Call(cache, "attend", q[:, :3])),
        ("a query of another dtype", Call(cache, "attend", q.half())),
        ("a query of another head dimension", Call(cache, "attend", q[..., :2])),
        ("more queries than tokens", Call(cache, "attend", q.repeat(1, 1, stored + 1, 1))),
        ("no queries", Call(cache, "attend", q[:, :, :0])),
    ]
    for what, step in draw.shuffled(bad):
        yield Raises(step, "ValueError", what)
    got = yield Call(cache, "length")
    yield Expect(got, stored, label="length after the refusals")
    got = yield Call(cache, "values")
    yield Expect(got, first[1], label="values after the refusals", per_row=True)
    for what, refused in draw.shuffled(_BAD_SIZES):
        yield Raises(refused, "ValueError", what)


def _draw_stored(draw: Draw, row: Row, rows: int) -> Pair:
    """Return keys and values, with scores as the row wants them, clear of ties."""
    count, heads, dim = row["tokens"], row["heads"], row["dim"]
    k, v = (draw.normal_tensor(rows, heads, count, dim) for _ in range(2))
    if row["vectors"] == "outliers":
        k[..., -1:], v[..., -1:] = k[..., -1:] * 8, v[..., -1:] * 8
    if dim == 1:  # a single number that cancels has no scale to compare it by
        v = v.abs() + 1
    if row["scores"] != "even":  # the first column of q is 2: that of k adds an offset to scores
        rise = torch.linspace(0, RISE, count)
        offsets = {"rising": rise, "falling": rise.flip(0)}
        offset = offsets.get(row["scores"], torch.full((count,), COARSE_SCORE))
        if row["scores"] == FAR_SCORES[1]:
            offset[count // 2 + 1 :] = 0.0
        k[..., 0] = offset * dim**0.5 / 2
    if row["vectors"] == "some of zeros":
        zeros = draw.uniform_tensor(rows, heads, count, 1) < 0.2
        zeros[:, :, -1] = False
        k, v = k.masked_fill(zeros, 0.0), v.masked_fill(zeros, 0.0)
    k, v = (_clear_of_ties(x.to(row["dtype"])) for x in (k, v))
    return laid_out(k, row["k"]), laid_out(v, row["v"])


def _store(draw: Draw, row: Row, cache: Ref, pair: Pair) -> CaseSteps:
    """Append in chunks, after what comes before."""
    k, v = pair
    q = draw.normal_tensor(len(k), row["heads"] * row["group"], 1, row["dim"]).to(k.dtype)
    if row["before"] == "a refused chunk":
        step = Call(cache, "append", k, v[:, :, 1:])
        yield Raises(step, "ValueError", "append of one value less")
    elif row["before"] == "a refused query":
        yield Raises(Call(cache, "attend", q), "ValueError", "a query of an empty cache")
    count = row["tokens"]
    ends = {"one": [count], "one and a token": [count - 1, count]}.get(row["chunks"])
    start = 0
    for end in ends or sorted([draw.integer(0, count), count // 2, count // 2, count]):
        yield Call(cache, "append", k[:, :, start:end], v[:, :, start:end])
        start = end


@case("QuantizedKVCache", "combinations", public=3, hidden=6, factors=QUANTIZED)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, strides, sizes around blocks of 64 and 256, shared heads.

    Scores that rise or fall along the row, or lie far from 0; vectors of zeros, and with outliers.
    """
    rows, heads, dim = 1 if row["tokens"] >= MANY_TOKENS else 2, row["heads"], row["dim"]
    cache = yield New("QuantizedKVCache", rows, heads, dim, dtype=row["dtype"])
    keys, values = _draw_stored(draw, row, rows)
    yield from _store(draw, row, cache, (keys, values))
    q = draw.normal_tensor(rows, heads * row["group"], row["queries"], dim)
    if row["scores"] != "even":
        q[..., 0] = 2.0
    q = laid_out(q.to(row["dtype"]), row["q"])
    got = yield Call(cache, "attend", q)
    lengths, stored = torch.full((rows,), row["tokens"]), [dequantised(x) for x in (keys, values)]
    want = attention(q.double(), *stored, lengths).to(row["dtype"])
    per_row = dim > 1 and row["scores"] not in FAR_SCORES
    yield Expect(got, want, label="attention", per_row=per_row)
    got = yield Call(cache, "packed_keys")
    yield Expect(got, lambda: quantised(keys), label="packed_keys", per_row=True)
    got = yield Call(cache, "values")
    yield Expect(got, stored[1].to(row["dtype"]), label="values")
