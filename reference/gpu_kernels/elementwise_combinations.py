"""Cases of `matrix_add` and `softmax` in which several things vary at once.

Takes: `Draw`, a row of factors. Gives: case makers. Does not cover: speed; one thing at a time (see
`elementwise_cases`).
"""

import math

import torch

from grader.author import Call, CaseSteps, Draw, Excluded, Expect, Factors, Row, case

from .inputs import DTYPES, MATRIX_LAYOUTS, laid_out
from .oracle import matrix_add, softmax

PAIRS = "Interpreted, a row costs milliseconds; no mistake is known that needs three levels."

ADD = Factors(
    "matrix_add",
    {
        "dtype": DTYPES,
        "rows": (3, 0, 1, 40),
        "columns": (65, 0, 1, 1100),
        "x": MATRIX_LAYOUTS,
        "y": MATRIX_LAYOUTS,
    },
    excluded=(
        Excluded(
            "many long rows show nothing more, and cost time",
            lambda row: row["rows"] == 40 and row["columns"] == 1100,
        ),
        Excluded(
            "where there is no number, nothing else shows",
            lambda row: (
                0 in (row["rows"], row["columns"])
                and (row["x"] != "contiguous" or row["y"] != "contiguous")
            ),
        ),
    ),
    strength=2,
    reason=PAIRS,
)


@case("matrix_add", "combinations", public=1, hidden=2, factors=ADD)
def add_combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, sizes around blocks of 64 and 1024, a layout of each matrix."""
    shape, dtype = (row["rows"], row["columns"]), row["dtype"]
    x, y = (laid_out(draw.normal_tensor(*shape, dtype=dtype), row[name]) for name in ("x", "y"))
    got = yield Call("matrix_add", x, y)
    yield Expect(got, lambda: matrix_add(x, y), label="sum", exact=True)


SOFTMAX = Factors(
    "softmax",
    {
        "dtype": DTYPES,
        "rows": (2, 0, 1, 9),
        "columns": (100, 1, 1025, 10_000),
        "x": MATRIX_LAYOUTS,
        "entries": ("even", "rising", "falling", "−inf before the last", "a row of −inf"),
    },
    excluded=(
        Excluded(
            "many long rows show nothing more, and cost time",
            lambda row: row["rows"] == 9 and row["columns"] == 10_000,
        ),
        Excluded(
            "where there is no row, nothing else shows",
            lambda row: row["rows"] == 0 and (row["entries"] != "even" or row["columns"] > 100),
        ),
    ),
    strength=2,
    reason=PAIRS,
)
STEP = 100.0
"""By how much the last eighth of a row lies above the rest: exp(89) overflows float32."""


def step_of(columns: int, entries: str) -> torch.Tensor:
    """Return what is added to a row, so that its maximum lies in its last or its first eighth."""
    above = torch.arange(columns) >= columns - max(4, columns // 8)
    above = above.flip(0) if entries == "falling" else above
    return torch.where(above, STEP, 0.0) if entries in ("rising", "falling") else torch.zeros(1)


@case("softmax", "combinations", public=1, hidden=2, factors=SOFTMAX)
def softmax_combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, sizes, layouts, the place of the maximum, −inf.

    A row has up to 10,000 columns. Its last eighth lies 100 above the rest, or its first one, or
    all of it but the last entry is −inf, or all of it.
    """
    x = draw.normal_tensor(row["rows"], row["columns"], scale=2)
    x = x + step_of(row["columns"], row["entries"])
    if row["entries"] == "−inf before the last":
        x[:, :-1] = -math.inf
    elif row["entries"] == "a row of −inf":
        x[:1] = -math.inf
    x = laid_out(x.to(row["dtype"]), row["x"])
    got = yield Call("softmax", x)
    yield Expect(got, lambda: softmax(x), label="probabilities", per_row=True)
