"""Cases of `cross_entropy` in which several things vary at once.

Takes: `Draw`, a row of factors. Gives: a case maker. Does not cover: speed and memory; one thing at
a time (see `loss_cases`).
"""

import math

import torch

from grader.author import Call, CaseSteps, Draw, Excluded, Expect, Factors, Row, case

from .elementwise_combinations import step_of
from .inputs import DTYPES, MATRIX_LAYOUTS, VECTOR_LAYOUTS, laid_out, vector_laid_out
from .oracle import cross_entropy

Tensor = torch.Tensor

WIDE = 2**32 + 1
"""An `ignore_index` of which 32 bits leave 1, a column like any other."""

LOSS = Factors(
    "cross_entropy",
    {
        "dtype": DTYPES,
        "targets": (torch.int64, torch.int32),
        "rows": (3, 1),
        "vocabulary": (30, 1, 5000),
        "ignored": ("no row", "some rows", "all rows but one", "all rows"),
        "ignore_index": ("left out", -1, 0, "the last column", WIDE),
        "entries": ("even", "rising", "falling", "−inf in front", "far from 0"),
        "x": MATRIX_LAYOUTS,
        "view of targets": VECTOR_LAYOUTS,
    },
    excluded=(
        Excluded(
            "where all rows are ignored, logits do not show",
            lambda row: (
                row["ignored"] == "all rows"
                and (row["entries"] != "even" or row["x"] != "contiguous")
            ),
        ),
        Excluded(
            "a single row is ignored or not",
            lambda row: row["rows"] == 1 and row["ignored"] in ("some rows", "all rows but one"),
        ),
        Excluded(
            "one target for all rows ignores all of them, or none",
            lambda row: (
                row["view of targets"] == "one number expanded"
                and row["ignored"] in ("some rows", "all rows but one")
            ),
        ),
        Excluded(
            "the only column cannot be the ignored one as well",
            lambda row: row["vocabulary"] == 1 and row["ignore_index"] in (0, "the last column"),
        ),
        Excluded(
            "targets of 32 bits cannot be a number of 33",
            lambda row: row["targets"] == torch.int32 and row["ignore_index"] == WIDE,
        ),
    ),
)
FAR = 30.0
"""Added to all logits: a log-sum-exp that is rounded to float16 there is off by 0.008."""


def _logits(draw: Draw, row: Row) -> Tensor:
    columns, entries = row["vocabulary"], row["entries"]
    x = draw.normal_tensor(row["rows"], columns, scale=2) + step_of(columns, entries)
    if entries == "−inf in front":
        x[:, : max(0, columns - 8)] = -math.inf
    elif entries == "far from 0":
        x = x + FAR
    return x.to(row["dtype"])


def _kept_targets(x: Tensor, index: int) -> list[Tensor]:
    """Return for each row the columns that may be its target.

    Not the largest: its loss may be so near to 0 that float32 holds no digit of it.
    """
    columns = torch.arange(x.shape[1])
    if len(columns) == 1:
        return [columns] * len(x)
    allowed = x.float().isfinite() & (columns != index)
    allowed[torch.arange(len(x)), x.float().argmax(dim=1)] = False
    return [columns[one] for one in allowed]


@case("cross_entropy", "combinations", public=1, hidden=3, factors=LOSS)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, sizes, which rows are ignored by which number, views.

    A vocabulary has up to 5000 columns; the last or the first eighth of a row lies 100 above the
    rest, or all of it is 30 higher, or all but 8 entries are −inf. Ignored rows hold NaN.
    """
    x, rows, columns = _logits(draw, row), row["rows"], row["vocabulary"]
    if row["x"] == "one row expanded" or row["view of targets"] == "one number expanded":
        x[:] = x[:1].clone()
    given = row["ignore_index"]
    named = {"left out": -100, "the last column": columns - 1}
    index = named.get(given, given)
    target = torch.stack([one[draw.integer(0, len(one) - 1)] for one in _kept_targets(x, index)])
    gone = {"no row": 0, "some rows": 2, "all rows but one": rows - 1, "all rows": rows}
    ignored = torch.tensor(draw.shuffled(range(rows))[: gone[row["ignored"]]], dtype=torch.int64)
    target[ignored] = index
    if row["x"] != "one row expanded" or row["ignored"] == "all rows":
        x[ignored] = math.nan
    x = laid_out(x, row["x"])
    target = vector_laid_out(target.to(row["targets"]), row["view of targets"])
    keywords = {} if given == "left out" else {"ignore_index": index}
    got = yield Call("cross_entropy", x, target, **keywords)
    yield Expect(got, lambda: cross_entropy(x, target, index), label="loss and gradient")
