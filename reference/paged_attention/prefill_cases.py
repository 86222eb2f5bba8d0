"""Cases of `paged_prefill`.

Takes: `Draw`. Gives: case makers. Does not cover: speed, memory of padded batches.
"""

import itertools

import torch

from grader.author import Call, CaseSteps, Draw, Excluded, Expect, Factors, Raises, Row, case

from .attention_cases import bad_pages
from .inputs import NAN, OUT_OF_RANGE, Layout, draw_pages, raise_scores
from .oracle import paged_prefill
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
    viewed,
)

SEVERAL_TILES = 64
"""As many queries, or tokens before them, or more."""

PREFILL = Factors(
    "paged_prefill",
    {
        "queries": (5, 1, 64, 129),
        "tokens before": (0, 1, MANY_KEYS, "less than none"),
        "beside": ("nothing", "short chunks", "chunks of none"),
        **LEVELS,
        "q": LAYOUTS,
        "view of starts": ("contiguous", "every other entry"),
    },
    excluded=(
        Excluded(
            "several tiles show what they show with one head and few columns; more costs time",
            lambda row: (
                (row["queries"] >= SEVERAL_TILES or row["tokens before"] == MANY_KEYS)
                and (row["heads"] > 1 or row["dim"] > 16)
            ),
        ),
        Excluded(
            "more queries than tokens, of which the first see nothing: more than one",
            lambda row: row["tokens before"] == "less than none" and row["queries"] == 1,
        ),
        FAR_OF_MANY_COLUMNS,
        NO_FALL,
    ),
)


def _draw_chunks(draw: Draw, row: Row) -> list[tuple[int, int]]:
    """Return (new tokens, length) of one to three sequences."""
    count, before = row["queries"], row["tokens before"]
    length = draw.integer(1, count - 1) if before == "less than none" else before + count
    chunks = [(count, length)]
    if row["beside"] == "chunks of none":
        chunks += [(0, draw.integer(1, SOME)), (0, 0)]
    elif row["beside"] == "short chunks":
        few = draw.integer(1, 4)
        chunks.append((few, max(few - 1, 0) + draw.integer(0, SOME)))
    return draw.shuffled(chunks)


@case("paged_prefill", "combinations", public=3, hidden=6, factors=PREFILL)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, strides, sizes around blocks of 64, and all that is below.

    Up to 129 queries behind up to 257 tokens; scores that rise along the tokens, lie far
    from 0 or fall from there; a scale that is left out, None, negative or 0; strides of each
    argument.
    """
    chunks, scores = _draw_chunks(draw, row), scores_of(draw, row)
    starts = list(itertools.accumulate((n for n, _ in chunks), initial=0))
    pages = pages_of(draw, row, [length for _, length in chunks], scores)
    q = draw.normal_tensor(starts[-1], row["heads"] * row["group"], row["dim"])
    q = laid_out((q if scores is None else scores.mark(q)).to(row["dtype"]), row["q"])
    given = viewed(torch.tensor(starts), row["view of starts"])
    got = yield Call("paged_prefill", q, given, *pages.arguments, **keywords_of(row))
    tables = pages.table, pages.lengths
    want = paged_prefill(q, starts, pages.caches, *tables, scale=factor_of(row))
    per_row = row["dim"] > 1 and row["scores"] not in FAR_SCORES
    yield Expect(got, want, label="attention", per_row=per_row)


def _attend(
    draw: Draw,
    chunks: list[tuple[int, int]],
    layout: Layout,
    *,
    group: int = 2,
    scale: float | None = None,
) -> CaseSteps:
    """Ask for chunks of (new tokens, length) and compare."""
    starts = list(itertools.accumulate((n for n, _ in chunks), initial=0))
    pages = draw_pages(draw, [length for _, length in chunks], layout)
    q = draw.normal_tensor(layout.heads * group, starts[-1], layout.dim).transpose(0, 1)
    q = (2 * q).to(layout.dtype)
    if layout.dtype == torch.float16:
        q = raise_scores(q, pages)
    keywords = {} if scale is None else {"scale": scale}
    got = yield Call("paged_prefill", q, torch.tensor(starts), *pages.arguments, **keywords)

    def want() -> torch.Tensor:
        return paged_prefill(q, starts, pages.caches, pages.table, pages.lengths, scale=scale)

    yield Expect(got, want, label="attention")


@case("paged_prefill", "whole_prompts", public=3, hidden=4)
def whole_prompts(draw: Draw) -> CaseSteps:
    """Prompts without anything before them: each token sees those up to itself."""
    size = draw.choice((1, 3, 4, 16))
    dtype = (torch.float32, torch.float16)[draw.index % 2]
    length = draw.integer(2, 3 * size + 2) if dtype == torch.float32 else draw.integer(24, 48)
    layout = Layout(page_size=size, dtype=dtype, dim=draw.choice((8, 10)))
    yield from _attend(draw, [(length, length)], layout, scale=0.4 if draw.index == 2 else None)


@case("paged_prefill", "later_chunks", public=2, hidden=6)
def later_chunks(draw: Draw) -> CaseSteps:
    """A chunk behind stored tokens: across the border of a page, up to it, of one token.

    Two chunks at once, and more queries than tokens, of which the first see nothing.
    """
    size = draw.integer(3, 6)
    before = draw.integer(1, 2) * size + draw.integer(1, size - 1)
    count = (size + 1, -before % size, 1, 2 * size + 1, 2, 3)[draw.index % 6]
    chunks = [(count, before + count)]
    if draw.index == 4:
        chunks.append((4, 2))
    elif draw.index == 5:
        chunks.insert(0, (2, size + 2))
    yield from _attend(draw, chunks, Layout(page_size=size))


@case("paged_prefill", "mixed_lengths", public=2, hidden=4)
def mixed_lengths(draw: Draw) -> CaseSteps:
    """Several prompts in one call, of a page, of one token, of none; and nothing new at all."""
    size = draw.integer(2, 5)
    lengths = draw.shuffled([draw.integer(2, 3 * size), size, 1, 2 * size + 1])
    chunks = [*((length, length) for length in lengths), (0, size + 1), (0, 0)]
    chunks = draw.shuffled(chunks) if draw.index else [(0, 3), (0, 0)]
    yield from _attend(draw, chunks, Layout(page_size=size), group=draw.choice((1, 3)))


@case("paged_prefill", "dead_pages", public=1, hidden=3)
def dead_pages(draw: Draw) -> CaseSteps:
    """NaN where no token lies, and page numbers that do not exist behind the last page in use."""
    size = draw.integer(3, 6)
    length = (draw.index % 3) * size + draw.integer(1, size - 1)
    layout = Layout(page_size=size, dead=NAN, tail=OUT_OF_RANGE)
    yield from _attend(draw, [(length, length)], layout)


@case("paged_prefill", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Starts that fall or do not cover the queries, and what `paged_decode` refuses."""
    size = draw.integer(2, 4)
    pages = draw_pages(draw, [size + 1, 2 * size], Layout(page_size=size))
    q, starts = draw.normal_tensor(4, 4, 8), torch.tensor([0, 1, 4])
    bad = [
        (what, (arguments[0], starts, *arguments[1:])) for what, arguments in bad_pages(q, pages)
    ]
    for what, other in (
        ("starts that fall", torch.tensor([0, 5, 4])),
        ("starts that begin at 1", torch.tensor([1, 2, 4])),
        ("starts that end too early", torch.tensor([0, 1, 3])),
        ("a start too few", torch.tensor([0, 4])),
        ("float starts", starts.float()),
        ("no starts", starts[:0]),
        ("starts of two dimensions", starts[None]),
    ):
        bad.append((what, (q, other, *pages.arguments)))
    for what, arguments in draw.shuffled(bad):
        yield Raises(Call("paged_prefill", *arguments), "ValueError", what)
