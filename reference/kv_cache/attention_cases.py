"""Cases of `decode_attention`.

Takes: `Draw`. Gives: case makers. Does not cover: bandwidth, memory of repeated heads.
"""

import math

import torch

from grader.author import Call, CaseSteps, Draw, Expect, Raises, case

from .inputs import DTYPES, strided_pair
from .oracle import attention

LARGE_SCORE = 100.0
"""Added to every score of a row: exp(100) overflows float32, softmax does not feel it."""

COARSE_SCORE = 40.0
"""The same for half dtypes: near 40 their scores are 0.25 and 0.03 apart, float32's 4e-6."""


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


@case("decode_attention", "chunk_mask", public=2, hidden=5)
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


@case("decode_attention", "bad_input", hidden=2)
def bad_input(draw: Draw) -> CaseSteps:
    """Sizes, dtypes or lengths that do not fit raise ValueError."""
    rows, heads, dim, stored = 2, 2, 4, draw.integer(4, 9)
    k, v = strided_pair(draw, rows, heads, stored, dim)
    q = draw.normal_tensor(rows, 2 * heads, 1, dim)
    lengths = torch.full((rows,), stored)
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
    ]
    for what, arguments in draw.shuffled(bad):
        yield Raises(Call("decode_attention", *arguments), "ValueError", what)
