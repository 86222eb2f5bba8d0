"""Cases of `split_kv_decode`: the merge alone, and the whole.

Takes: `Draw`. Gives: case makers. Does not cover: speed.
"""

import math

import torch

from grader.author import Call, CaseSteps, Draw, Expect, Raises, case

from .attention_cases import bad_pages
from .inputs import Layout, Pages, draw_pages
from .oracle import merge, paged_decode


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


@case("split_kv_decode", "splits", public=4, hidden=7)
def splits(draw: Draw) -> CaseSteps:
    """1 split, some, more than there are tokens; a long context in a batch of one; float16."""
    size = draw.choice((1, 4, 5, 16))
    lengths = [draw.integer(1, 40), 0, draw.integer(size, size + 1)]
    if draw.index in (1, 4):
        lengths = [draw.integer(900, 1200)]
    n_splits = (1, 8, 60, 3, 7, 2, 5)[draw.index % 7]
    dtype = torch.float16 if draw.index in (3, 5) else torch.float32
    pages = draw_pages(draw, lengths, Layout(page_size=size, dtype=dtype))
    q = (3 * draw.normal_tensor(len(lengths), 4, 8)).to(dtype)
    scale = 0.5 if draw.index == 3 else None
    keywords = {} if scale is None else {"scale": scale}
    got = yield Call("split_kv_decode", q, *pages.arguments, n_splits=n_splits, **keywords)

    def want() -> tuple[torch.Tensor, torch.Tensor]:
        return paged_decode(q, pages.caches, pages.table, pages.lengths, scale)

    yield Expect(got, want, label="output and log-sum-exp")


@case("split_kv_decode", "bad_input", hidden=2)
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
        ("parts without a head dimension", Call("merge_splits", o[..., 0], lse)),
    ]
    for what, step in draw.shuffled(bad):
        yield Raises(step, "ValueError", what)
