"""Cases of `decode_attention`.

Takes: `Draw`. Gives: case makers. Does not cover: bandwidth, memory of repeated heads.
"""

import math

import torch

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Excluded,
    Expect,
    Factors,
    Raises,
    Row,
    case,
)

from .inputs import DTYPES, LAYOUTS, laid_out, strided_pair
from .oracle import attention

LARGE_SCORE = 100.0
"""Added to every score of a row: exp(100) overflows float32, softmax does not feel it."""

FAR_SCORE = 95.0
"""The same where a score is the sum of an offset and a random part."""

COARSE_SCORE = 40.0
"""The same for half dtypes: near 40 their scores are 0.25 and 0.03 apart, float32's 4e-6."""


MANY_KEYS = 300
LARGEST_QUERY = 17_500
"""Numbers in a row of q."""

ATTENTION = Factors(
    "decode_attention",
    {
        "dtype": DTYPES,
        "keys": (0, 1, 63, 64, 65, MANY_KEYS, 1100),
        "queries": (1, 3, 17, 65),
        "group": (1, 3, 8),
        "heads": (1, 2),
        "dim": (16, 1, 33, 80),
        "lengths": ("all equal", "ragged", "some 0"),
        "room behind": ("none", "NaN and inf", "large numbers"),
        "scale": ("left out", None, 0.3, -0.2, 0.0),
        "scores": ("even", "rising", "falling", "far from 0"),
        "q": LAYOUTS,
        "k": LAYOUTS,
        "v": LAYOUTS,
        "view of lengths": ("contiguous", "every other entry"),
    },
    excluded=(
        Excluded(
            "lengths differ only if there are enough of them: 0 alone, or 0 and 1",
            lambda row: (
                (row["keys"] == 0 and row["lengths"] != "all equal")
                or (row["keys"] == 1 and row["lengths"] == "ragged")
            ),
        ),
        Excluded(
            "no keys at all: empty tensors, which public cases must show as well",
            lambda row: row["keys"] == 0 and row["room behind"] != "none",
        ),
        Excluded(
            "several tiles of keys show what they show with one head and D = 16; more costs time",
            lambda row: row["keys"] >= MANY_KEYS and (row["heads"] > 1 or row["dim"] != 16),
        ),
        Excluded(
            "a larger query shows nothing more, and costs time",
            lambda row: row["heads"] * row["group"] * row["queries"] * row["dim"] > LARGEST_QUERY,
        ),
        Excluded(
            "a score near 100 is rounded once per column: with many, no tolerance would be left",
            lambda row: row["scores"] == "far from 0" and row["dim"] > 16,
        ),
    ),
)
"""Keys: the largest length; usual blocks have 64 to 512 keys. Scores far from 0: exp overflows."""

RISE = 12.0
"""From the first to the last score of a row, in units of softmax: each tile of keys has a larger
maximum than those before it, so that what they left must be scaled by less than a half."""


def _draw_lengths(draw: Draw, row: Row) -> torch.Tensor:
    """Return the lengths of one to three rows, int64 [B]; the largest is `keys`."""
    keys, kind = row["keys"], row["lengths"]
    if kind == "all equal":
        lengths = [keys] * draw.integer(1, 1 if keys >= MANY_KEYS else 3)
    else:
        lengths = [keys, 0 if kind == "some 0" else draw.integer(1, keys - 1)]
        if 1 < keys < MANY_KEYS:
            lengths.append(draw.integer(1, keys - 1))
    lengths = torch.tensor(draw.shuffled(lengths))
    return lengths if row["view of lengths"] == "contiguous" else lengths.repeat_interleave(2)[::2]


def _draw_heads(draw: Draw, row: Row, rows: int, scale: float) -> list[torch.Tensor]:
    """Return q, k and v in float32, with scores as the row wants them."""
    stored = row["keys"] + (0 if row["room behind"] == "none" else draw.choice((1, 7, 64)))
    heads, dim = row["heads"], row["dim"]
    q = draw.normal_tensor(rows, heads * row["group"], row["queries"], dim)
    k, v = (draw.normal_tensor(rows, heads, stored, dim) for _ in range(2))
    if dim == 1:  # a single number that cancels has no scale to compare it by
        v = v.abs() + 1
    far = FAR_SCORE if row["dtype"] == torch.float32 else COARSE_SCORE
    offsets = {
        "even": torch.zeros(stored),
        "rising": torch.linspace(0, RISE, stored),
        "falling": torch.linspace(RISE, 0, stored),
        "far from 0": torch.full((stored,), far),
    }[row["scores"]]
    if row["scores"] != "even":  # the first column of q is 2: that of k adds an offset to scores
        q[..., 0], k[..., 0] = 2.0, offsets / (2 * abs(scale) or 1)
    return [q, k, v]


@case("decode_attention", "combinations", public=3, hidden=6, factors=ATTENTION)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, strides, sizes around blocks of 64, and all that is above.

    Up to 1,100 keys and 65 queries; scores that rise or fall along the row, or lie far from 0;
    a scale that is left out, None, positive, negative or 0; a stride for each argument.
    """
    lengths = _draw_lengths(draw, row)
    given = {} if row["scale"] == "left out" else {"scale": row["scale"]}
    scale = given.get("scale")
    scale = 1 / math.sqrt(row["dim"]) if scale is None else scale
    q, k, v = (x.to(row["dtype"]) for x in _draw_heads(draw, row, len(lengths), scale))
    for b, length in enumerate(lengths.tolist()):
        dead_k, dead_v = k[b, :, length:], v[b, :, length:]
        if row["room behind"] == "NaN and inf":
            dead_k[:], dead_v[:] = math.nan, math.nan
            dead_k[:, -1:], dead_v[:, :1] = -math.inf, math.inf
        elif row["room behind"] == "large numbers":
            dead_k[:], dead_v[:] = 1e4, -1e4
    q, k, v = (laid_out(x, row[name]) for x, name in ((q, "q"), (k, "k"), (v, "v")))
    got = yield Call("decode_attention", q, k, v, lengths, **given)
    want = attention(q, k, v, lengths, scale)
    per_row = row["dim"] > 1 and row["scores"] != "far from 0"
    yield Expect(got, want, label="attention", per_row=per_row)


def _shifted(k: torch.Tensor, q: torch.Tensor, by: float) -> torch.Tensor:
    """Return keys whose dot product with the row's one query is larger by `by`."""
    direction = q.float() / q.float().square().sum(dim=-1, keepdim=True)
    return (k.float() + by * direction).to(k.dtype)


@case("decode_attention", "single_query", public=3, hidden=8)
def single_query(draw: Draw) -> CaseSteps:
    """One query per row, one key/value head per query head, all tokens valid.

    Peaked softmax in float32, scores around 40 in half dtypes; then scores around 100; then one
    token; with the usual scale and with a given one.
    """
    rows, heads = draw.integer(1, 3), draw.integer(1, 3)
    dim, stored = draw.choice((16, 20, 33)), draw.integer(17, 45)
    dtype = DTYPES[draw.index % 3]
    keywords = {"scale": 0.3} if draw.index in (1, 6) else {}
    scale = keywords.get("scale", 1 / math.sqrt(dim))
    k, v = strided_pair(draw, rows, heads, stored, dim, dtype=dtype)
    q = draw.normal_tensor(rows, 1, heads, dim).to(dtype).transpose(1, 2)
    if draw.index == 3:
        k = _shifted(k, q, LARGE_SCORE / scale)
    elif draw.index == 4:
        k, v = k[:, :, :1], v[:, :, :1]
    elif dtype == torch.float32:
        q = q * 4
    else:
        k = _shifted(k, q, COARSE_SCORE / scale)
    lengths = torch.full((rows,), k.shape[2])
    got = yield Call("decode_attention", q, k, v, lengths, **keywords)
    yield Expect(got, lambda: attention(q, k, v, lengths, scale), label="attention")


@case("decode_attention", "grouped_heads", public=1, hidden=4)
def grouped_heads(draw: Draw) -> CaseSteps:
    """4 or 8 query heads share a key/value head: query head h reads h // (Hq // H)."""
    rows, heads, group = draw.integer(1, 2), draw.integer(2, 3), (4, 8, 2, 4)[draw.index % 4]
    if draw.index % 4 == 3:
        heads = 1
    dim, stored = draw.choice((8, 10)), draw.integer(5, 21)
    k, v = strided_pair(draw, rows, heads, stored, dim)
    q = draw.normal_tensor(rows, heads * group, 1, dim)
    lengths = torch.full((rows,), stored)
    got = yield Call("decode_attention", q, k, v, lengths)
    yield Expect(got, lambda: attention(q, k, v, lengths), label="attention")


@case("decode_attention", "ragged_lengths", public=2, hidden=4)
def ragged_lengths(draw: Draw) -> CaseSteps:
    """Every row has its own number of valid tokens; a row without any gives zeros."""
    rows, heads, dim, stored = draw.integer(4, 5), 2, 8, draw.integer(9, 26)
    k, v = strided_pair(draw, rows, heads, stored, dim)
    q = draw.normal_tensor(rows, heads, 1, dim)
    others = [draw.integer(2, stored - 1) for _ in range(rows - 3)]
    lengths = torch.tensor(draw.shuffled([0, 1, stored, *others]))
    if draw.index == 1:  # nothing stored yet
        k, v, lengths = k[:, :, :0], v[:, :, :0], torch.zeros(rows, dtype=torch.int64)
    got = yield Call("decode_attention", q, k, v, lengths)
    yield Expect(got, lambda: attention(q, k, v, lengths), label="attention")


@case("decode_attention", "chunk_mask", public=2, hidden=3)
def chunk_mask(draw: Draw) -> CaseSteps:
    """Several new tokens at once: each sees what came before it, the last one sees everything.

    A later chunk, the first one, and more queries than valid tokens.
    """
    rows, heads, dim, count = draw.integer(1, 2), 2, 8, draw.integer(3, 7)
    length = (count + draw.integer(2, 9), count, count - 2)[draw.index % 3]
    k, v = strided_pair(draw, rows, heads, length, dim)
    q = draw.normal_tensor(rows, heads, count, dim)
    lengths = torch.full((rows,), length)
    got = yield Call("decode_attention", q, k, v, lengths)
    yield Expect(got, lambda: attention(q, k, v, lengths), label="attention", per_row=True)


@case("decode_attention", "dead_slots", public=1, hidden=3)
def dead_slots(draw: Draw) -> CaseSteps:
    """Room behind the valid tokens holds NaN and infinities: they must not reach the result."""
    rows, heads, dim, stored = draw.integer(1, 3), 2, 8, draw.integer(6, 19)
    length = draw.integer(1, stored - 2)
    k, v = strided_pair(draw, rows, heads, stored, dim)
    k[:, :, length:], v[:, :, length:] = math.nan, math.nan
    v[:, :, length], k[:, :, -1] = math.inf, -math.inf
    q = draw.normal_tensor(rows, heads, 1, dim)
    lengths = torch.full((rows,), length)
    got = yield Call("decode_attention", q, k, v, lengths)
    yield Expect(got, lambda: attention(q, k, v, lengths), label="attention")


@case("decode_attention", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Sizes, dtypes or lengths that do not fit raise ValueError."""
    rows, heads, dim, stored = 2, 2, 4, draw.integer(4, 9)
    k, v = strided_pair(draw, rows, heads, stored, dim)
    q = draw.normal_tensor(rows, 2 * heads, 1, dim)
    lengths, one = torch.full((rows,), stored), torch.tensor([0, 1])
    bad = [
        ("3 query heads for 2", (q[:, :3], k, v, lengths)),
        ("a length beyond the stored tokens", (q, k, v, lengths + 1)),
        ("a negative length", (q, k, v, lengths - stored - 1)),
        ("one length for two rows", (q, k, v, lengths[:1])),
        ("float lengths", (q, k, v, lengths.float())),
        ("values with fewer tokens", (q, k, v[:, :, 1:], lengths)),
        ("values of another head dimension", (q, k, v[..., 1:], lengths)),
        ("a query of another head dimension", (q[..., 1:], k, v, lengths)),
        ("keys of another dtype", (q, k.half(), v, lengths)),
        ("values of another dtype", (q, k, v.half(), lengths)),
        ("one row of keys for two of queries", (q, k[:1], v[:1], lengths)),
        ("a query without a token dimension", (q[:, :, 0], k, v, lengths)),
        ("keys and values of 3 dimensions", (q, k[0], v[0], lengths)),
        ("keys and values of 5 dimensions", (q, k[..., None], v[..., None], lengths)),
        ("values of 3 dimensions", (q, k, v[0], lengths)),
        ("no query", (q[:, :, :0], k, v, lengths)),
        ("a query of another dtype", (q.half(), k, v, lengths)),
        ("everything in float64", (q.double(), k.double(), v.double(), lengths)),
        ("everything in int64", (q.long(), k.long(), v.long(), lengths)),
        ("int32 lengths", (q, k, v, lengths.int())),
        ("lengths of 2 dimensions", (q, k, v, lengths[:, None])),
        ("one of two lengths beyond the stored tokens", (q, k, v, lengths + one)),
        ("one of two lengths negative", (q, k, v, lengths - (stored + 1) * one)),
    ]
    for what, arguments in draw.shuffled(bad):
        yield Raises(Call("decode_attention", *arguments), "ValueError", what)
