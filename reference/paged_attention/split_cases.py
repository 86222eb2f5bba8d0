"""Cases of `split_kv_decode`: the merge alone, and the whole.

Takes: `Draw`. Gives: case makers. Does not cover: speed.
"""

import math

import torch

from grader.author import Call, CaseSteps, Draw, Excluded, Expect, Factors, Raises, Row, case

from .attention_cases import FEW_LENGTHS, KEYS, MANY_KEYS_OF_ONE_HEAD, bad_pages, draw_lengths
from .inputs import Layout, Pages, draw_pages
from .oracle import merge, paged_decode
from .page_rows import (
    FAR_OF_MANY_COLUMNS,
    LEVELS,
    NO_FALL,
    factor_of,
    keywords_of,
    laid_out,
    pages_of,
    scores_of,
)

LEAST_SCORE = 3.0
"""Added to all scores: a log-sum-exp that is nearly 0 has no relative error."""
MEAN_VALUE = 1.4
"""Of float16 values: sums that are kept in float16 lose 2^-11 of it with each part."""

MANY_SPLITS = 70
"""More than a block of 64 parts."""

SPLITS = Factors(
    "split_kv_decode",
    {"splits": (2, 1, 7, MANY_SPLITS), **KEYS, **LEVELS},
    excluded=(
        FEW_LENGTHS,
        MANY_KEYS_OF_ONE_HEAD,
        FAR_OF_MANY_COLUMNS,
        NO_FALL,
        Excluded(
            "each of many parts costs time, and shows no more in a long batch or in views",
            lambda row: (
                row["splits"] == MANY_SPLITS
                and (
                    row["lengths"] == "ragged"
                    or row["view of the table"] != "contiguous"
                    or row["q"] == "every other column"
                    or row["scale"] is None
                )
            ),
        ),
    ),
)

PARTS = Factors(
    "split_kv_decode",
    {
        "parts": (5, 1, 129),
        "rows": (1, 3),
        "heads": (1, 4),
        "dim": (16, 1, 33),
        "empty": ("none", "the first", "all but one", "all of one head", "some"),
        "in empty parts": ("NaN and inf", "large numbers"),
        "log-sum-exp": ("around 0", "around 200", "around -200", "rising", "falling"),
        "o": ("contiguous", "every other column", "parts last"),
        "lse": ("contiguous", "every other entry", "parts last"),
    },
    excluded=(
        Excluded(
            "of one part, either none is empty or all are",
            lambda row: row["parts"] == 1 and row["empty"] not in ("none", "all of one head"),
        ),
        Excluded(
            "many parts of many numbers cost time",
            lambda row: row["parts"] > 64 and row["dim"] > 16,
        ),
        Excluded(
            "who merges one part after the other rounds a large log-sum-exp each time",
            lambda row: row["parts"] > 64 and "200" in row["log-sum-exp"],
        ),
    ),
)


@case("split_kv_decode", "combinations", public=3, hidden=6, factors=SPLITS)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: numbers of parts, and all that `paged_decode` varies."""
    lengths, scores = draw_lengths(draw, row), scores_of(draw, row, least=LEAST_SCORE)
    half = row["dtype"] == torch.float16
    pages = pages_of(draw, row, lengths, scores, values=MEAN_VALUE if half else 0.0)
    q = draw.normal_tensor(len(lengths), row["heads"] * row["group"], row["dim"])
    q = laid_out((q if scores is None else scores.mark(q)).to(row["dtype"]), row["q"])
    keywords = {"n_splits": row["splits"], **keywords_of(row)}
    got = yield Call("split_kv_decode", q, *pages.arguments, **keywords)
    want = paged_decode(q, pages.caches, pages.table, pages.lengths, factor_of(row))
    yield Expect(got, want, label="output and log-sum-exp")


def _draw_empty(draw: Draw, kind: str, shape: tuple[int, int, int]) -> torch.Tensor:
    """Return which parts are empty, bool [C, B, Hq]."""
    empty = torch.zeros(shape, dtype=torch.bool)
    match kind:
        case "the first":
            empty[0] = True
        case "all but one":
            empty[:] = True
            empty[draw.integer(0, shape[0] - 1)] = False
        case "all of one head":
            empty[:, draw.integer(0, shape[1] - 1), draw.integer(0, shape[2] - 1)] = True
        case "some":
            empty = draw.uniform_tensor(*shape) < 0.5
    return empty


def _parts_viewed(x: torch.Tensor, view: str) -> torch.Tensor:
    if view == "parts last":
        return x.movedim(0, -1).contiguous().movedim(-1, 0)
    return x.repeat_interleave(2, dim=-1)[..., ::2] if view.startswith("every other") else x


@case("split_kv_decode", "merges", public=2, hidden=4, factors=PARTS)
def merges(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: numbers of parts, empty ones, log-sum-exps far apart, strides."""
    shape = row["parts"], row["rows"], row["heads"]
    o, lse = draw.normal_tensor(*shape, row["dim"]), draw.normal_tensor(*shape)
    lse += {
        "around 0": torch.tensor(2.0),  # or a log-sum-exp is nearly 0
        "around 200": torch.tensor(200.0),
        "around -200": torch.tensor(-200.0),
        "rising": torch.linspace(5, 25, shape[0])[:, None, None],
        "falling": torch.linspace(25, 5, shape[0])[:, None, None],
    }[row["log-sum-exp"]]
    empty = _draw_empty(draw, row["empty"], shape)
    bad = (math.nan, math.inf) if row["in empty parts"] == "NaN and inf" else (1e30, -1e30)
    o[empty], lse[empty] = bad[0], -math.inf
    o[..., 0][empty] = bad[1]
    o, lse = _parts_viewed(o, row["o"]), _parts_viewed(lse, row["lse"])
    got = yield Call("merge_splits", o, lse)
    yield Expect(got, merge(o, lse), label="output and log-sum-exp")


@case("split_kv_decode", "merge", public=1, hidden=4)
def merge_parts(draw: Draw) -> CaseSteps:
    """Parts of very different weight, scores around 0 and around 200, and a single part."""
    parts = 1 if draw.index == 2 else draw.integer(2, 6)
    rows, heads = draw.integer(1, 3), draw.integer(1, 3)
    o = draw.normal_tensor(parts, rows, heads, 10)[..., ::2]
    lse = 3 * draw.normal_tensor(parts, rows, heads) + (0.0, 200.0, -200.0)[draw.index % 3]
    got = yield Call("merge_splits", o, lse)
    yield Expect(got, merge(o, lse), label="output and log-sum-exp")


@case("split_kv_decode", "empty_parts", public=1, hidden=6)
def empty_parts(draw: Draw) -> CaseSteps:
    """Empty parts have -inf and hold NaN; a head whose parts are all empty gives 0 and -inf."""
    parts, rows, heads = draw.integer(2, 5), draw.integer(2, 3), 2
    o, lse = draw.normal_tensor(parts, rows, heads, 5), draw.normal_tensor(parts, rows, heads)
    empty = draw.uniform_tensor(parts, rows, heads) < 0.5
    empty[:, 0, 0], empty[:, -1, 1], empty[0, -1, 1] = True, False, True
    o[empty], lse[empty] = math.nan, -math.inf
    got = yield Call("merge_splits", o, lse)
    yield Expect(got, merge(o, lse), label="output and log-sum-exp")


@case("split_kv_decode", "splits", public=4, hidden=6)
def splits(draw: Draw) -> CaseSteps:
    """1 split, some, more than there are tokens; a long context in a batch of one; float16."""
    size = draw.choice((1, 4, 5, 16))
    lengths = [draw.integer(1, 40), 0, draw.integer(size, size + 1)]
    if draw.index in (1, 4):
        lengths = [draw.integer(900, 1200)]
    n_splits = (1, 8, 45, 70, 7, 60)[draw.index % 6]
    dtype = torch.float16 if draw.index == 3 else torch.float32
    if dtype == torch.float16:  # a part per token, each of which would be rounded
        lengths[0] = draw.integer(64, 70)
    pages = draw_pages(draw, lengths, Layout(page_size=size, dtype=dtype))
    if dtype == torch.float16:
        pages.v.add_(MEAN_VALUE)
    q = (3 * draw.normal_tensor(len(lengths), 4, 8)).to(dtype)
    scale = 0.5 if draw.index == 3 else None
    keywords = {} if scale is None else {"scale": scale}
    got = yield Call("split_kv_decode", q, *pages.arguments, n_splits=n_splits, **keywords)

    def want() -> tuple[torch.Tensor, torch.Tensor]:
        return paged_decode(q, pages.caches, pages.table, pages.lengths, scale)

    yield Expect(got, want, label="output and log-sum-exp")


@case("split_kv_decode", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """No splits, and what `paged_decode` refuses, raise ValueError; so do parts that do not fit."""
    size = draw.integer(2, 4)
    pages: Pages = draw_pages(draw, [size + 1, 2 * size], Layout(page_size=size))
    q = draw.normal_tensor(2, 4, 8)
    bad = [
        (what, Call("split_kv_decode", *arguments, n_splits=2))
        for what, arguments in bad_pages(q, pages)
    ]
    for count in (0, -1):
        step = Call("split_kv_decode", q, *pages.arguments, n_splits=count)
        bad.append((f"{count} splits", step))
    o, lse = draw.normal_tensor(3, 2, 4, 5), draw.normal_tensor(3, 2, 4)
    bad += [
        ("a log-sum-exp too few", Call("merge_splits", o, lse[:2])),
        ("no parts", Call("merge_splits", o[:0], lse[:0])),
        ("parts in float16", Call("merge_splits", o.half(), lse)),
        ("a log-sum-exp in float16", Call("merge_splits", o, lse.half())),
        ("parts without a head dimension", Call("merge_splits", o[..., 0], lse)),
    ]
    for what, step in draw.shuffled(bad):
        yield Raises(step, "ValueError", what)
