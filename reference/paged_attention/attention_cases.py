"""Cases of `paged_decode`.

Takes: `Draw`. Gives: case makers. Does not cover: bandwidth, memory of gathered pages.
"""

from dataclasses import replace

import torch

from grader.author import Call, CaseSteps, Draw, Excluded, Expect, Factors, Raises, Row, Value, case

from .inputs import NAN, OUT_OF_RANGE, Layout, Pages, draw_pages, raise_scores
from .oracle import paged_decode
from .page_rows import (
    FAR_OF_MANY_COLUMNS,
    FAR_SCORES,
    LAYOUTS,
    LEVELS,
    MANY_KEYS,
    NO_FALL,
    SOME,
    factor_of,
    keywords_of,
    laid_out,
    pages_of,
    scores_of,
)

KEYS = {
    "keys": (64, 0, 1, MANY_KEYS),
    "lengths": ("all equal", "ragged", "some 0"),
    "q": LAYOUTS,
}
"""Factors of one query per sequence; keys is the largest length."""

FEW_LENGTHS = Excluded(
    "lengths differ only if there are enough of them: 0 alone, or 0 and 1",
    lambda row: (
        (row["keys"] == 0 and row["lengths"] != "all equal")
        or (row["keys"] == 1 and row["lengths"] == "ragged")
    ),
)
MANY_KEYS_OF_ONE_HEAD = Excluded(
    "several tiles of keys show what they show with one head and few columns; more costs time",
    lambda row: row["keys"] == MANY_KEYS and (row["heads"] > 1 or row["dim"] > 16),
)

DECODE = Factors(
    "paged_decode",
    {**KEYS, **LEVELS},
    excluded=(FEW_LENGTHS, MANY_KEYS_OF_ONE_HEAD, FAR_OF_MANY_COLUMNS, NO_FALL),
)


def draw_lengths(draw: Draw, row: Row) -> list[int]:
    """Return the lengths of one to three sequences; the largest is `keys`."""
    keys, kind = row["keys"], row["lengths"]
    if kind == "all equal":
        return [keys] * draw.integer(1, 1 if keys == MANY_KEYS else 3)
    return draw.shuffled([keys, 0 if kind == "some 0" else draw.integer(1, min(keys - 1, SOME))])


@case("paged_decode", "combinations", public=3, hidden=6, factors=DECODE)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, strides, sizes around blocks of 64, and all that is below.

    Up to 257 keys; scores that rise along the tokens, lie far from 0 or fall from there; a scale
    that is left out, None, negative or 0; strides of each argument.
    """
    lengths, scores = draw_lengths(draw, row), scores_of(draw, row)
    pages = pages_of(draw, row, lengths, scores)
    q = draw.normal_tensor(len(lengths), row["heads"] * row["group"], row["dim"])
    q = laid_out((q if scores is None else scores.mark(q)).to(row["dtype"]), row["q"])
    got = yield Call("paged_decode", q, *pages.arguments, **keywords_of(row))
    want = paged_decode(q, pages.caches, pages.table, pages.lengths, factor_of(row))[0]
    per_row = row["dim"] > 1 and row["scores"] not in FAR_SCORES
    yield Expect(got, want, label="attention", per_row=per_row)


def _expect(got: Value, q: torch.Tensor, pages: Pages, scale: float | None = None) -> Expect:
    """Compare with the oracle."""

    def want() -> torch.Tensor:
        return paged_decode(q, pages.caches, pages.table, pages.lengths, scale)[0]

    return Expect(got, want, label="attention")


@case("paged_decode", "page_sizes", public=3, hidden=8)
def page_sizes(draw: Draw) -> CaseSteps:
    """Pages of 1 to 256 tokens in any order, float32 and float16, usual and given scale."""
    size = (16, 1, 3, 256, 64, 7, 32, 128)[draw.index % 8]
    dtype = (torch.float32, torch.float16)[draw.index // 2 % 2]
    rows, dim = draw.integer(1, 3), draw.choice((16, 20, 33))
    lengths = [draw.integer(17, 60) for _ in range(rows)]
    pages = draw_pages(draw, lengths, Layout(page_size=size, dim=dim, dtype=dtype))
    q = (2 * draw.normal_tensor(rows, dim, 2)).to(dtype).transpose(1, 2)
    if dtype == torch.float16:
        q = raise_scores(q, pages)
    scale = 0.3 if draw.index in (1, 6) else None
    keywords = {} if scale is None else {"scale": scale}
    got = yield Call("paged_decode", q, *pages.arguments, **keywords)
    yield _expect(got, q, pages, scale)


@case("paged_decode", "grouped_heads", public=1, hidden=4)
def grouped_heads(draw: Draw) -> CaseSteps:
    """2, 4 or 8 query heads share a key/value head: query head h reads h // (Hq // H)."""
    heads, group = draw.integer(2, 3), (4, 8, 2, 4)[draw.index % 4]
    if draw.index % 4 == 3:
        heads = 1
    rows = draw.integer(1, 2)
    lengths = [draw.integer(5, 21) for _ in range(rows)]
    pages = draw_pages(draw, lengths, Layout(page_size=draw.integer(2, 5), heads=heads))
    q = draw.normal_tensor(rows, heads * group, 8)
    got = yield Call("paged_decode", q, *pages.arguments)
    yield _expect(got, q, pages)


@case("paged_decode", "ragged_contexts", public=1, hidden=4)
def ragged_contexts(draw: Draw) -> CaseSteps:
    """Contexts of 0, 1, one less than a page, a page, one more, and several pages."""
    size = draw.integer(2, 6)
    lengths = draw.shuffled([0, 1, size - 1, size, size + 1, 3 * size + 1])
    if draw.index == 1:
        lengths = [0, 0]
    elif draw.index == 2:  # the longest fills its row of the table
        lengths = [2 * size, 1]
    pages = draw_pages(draw, lengths, Layout(page_size=size))
    if draw.index == 2:
        pages = replace(pages, table=pages.table[:, :2].contiguous())
    q = draw.normal_tensor(len(lengths), 2, 8)
    got = yield Call("paged_decode", q, *pages.arguments)
    yield _expect(got, q, pages)


@case("paged_decode", "dead_slots", public=1, hidden=6)
def dead_slots(draw: Draw) -> CaseSteps:
    """NaN in rows behind the last token and in pages of nobody must not reach the result."""
    size = draw.integer(3, 6)
    lengths = [size + draw.integer(1, size - 1), draw.integer(1, size - 1)]
    pages = draw_pages(draw, lengths, Layout(page_size=size, dead=NAN))
    q = draw.normal_tensor(len(lengths), 2, 8)
    got = yield Call("paged_decode", q, *pages.arguments)
    yield _expect(got, q, pages)


@case("paged_decode", "table_tail", public=1, hidden=3)
def table_tail(draw: Draw) -> CaseSteps:
    """Entries of the table behind the last page in use hold numbers of pages that do not exist."""
    size = draw.integer(2, 6)
    lengths = [draw.integer(1, size), 2 * size, 3 * size + 1]
    tail = (OUT_OF_RANGE, -OUT_OF_RANGE)[draw.index % 2]
    pages = draw_pages(draw, lengths, Layout(page_size=size, tail=tail))
    q = draw.normal_tensor(len(lengths), 2, 8)
    got = yield Call("paged_decode", q, *pages.arguments)
    yield _expect(got, q, pages)


def bad_pages(q: torch.Tensor, pages: Pages) -> list[tuple[str, tuple[torch.Tensor, ...]]]:
    """Return what is wrong with it, and the arguments that follow the query (that included)."""
    k, v, table, lengths = pages.arguments
    room = table.shape[1] * k.shape[1]
    stray, negative, beyond, below = table.clone(), table.clone(), lengths.clone(), lengths.clone()
    stray[0, 0], negative[-1, 0], beyond[0], below[-1] = k.shape[0], -1, room + 1, -1
    nothing = torch.zeros_like(lengths)
    return [
        ("a page behind the pool", (q, k, v, stray, lengths)),
        ("a negative page in use", (q, k, v, negative, lengths)),
        ("a length beyond the table", (q, k, v, table, beyond)),
        ("a negative length", (q, k, v, table, below)),
        ("a length too few", (q, k, v, table, lengths[1:])),
        ("a row of the table too few", (q, k, v, table[1:], lengths)),
        ("float lengths", (q, k, v, table, lengths.float())),
        ("a float table", (q, k, v, table.float(), lengths)),
        ("a table of one dimension", (q, k, v, table[:, 0], lengths)),
        ("a query of two dimensions", (q[:, 0], k, v, table, lengths)),
        ("keys and values of three dimensions", (q, k[:, :, 0], v[:, :, 0], table, lengths)),
        ("pages of no token", (q, k[:, :0], v[:, :0], table, nothing)),
        ("bfloat16", (q.bfloat16(), k.bfloat16(), v.bfloat16(), table, lengths)),
        ("values of another head dimension", (q, k, v[..., 1:], table, lengths)),
        ("a query of another head dimension", (q[..., 1:], k, v, table, lengths)),
        ("3 query heads for 2", (q[:, :3], k, v, table, lengths)),
        ("keys of another dtype", (q, k.half(), v, table, lengths)),
        ("values of another dtype", (q, k, v.half(), table, lengths)),
    ]


@case("paged_decode", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Sizes, dtypes, lengths or page numbers in use that do not fit raise ValueError."""
    size = draw.integer(2, 4)
    pages = draw_pages(draw, [size + 1, 2 * size], Layout(page_size=size))
    q = draw.normal_tensor(2, 4, 8)
    for what, arguments in draw.shuffled(bad_pages(q, pages)):
        yield Raises(Call("paged_decode", *arguments), "ValueError", what)
