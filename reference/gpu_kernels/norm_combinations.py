"""Cases of `rmsnorm` and `layernorm` in which several things vary at once, forward and backward.

Takes: `Draw`, a row of factors. Gives: case makers. Does not cover: speed; one thing at a time (see
`norm_cases`).
"""

from collections.abc import Mapping
from typing import Any

import torch

from grader.author import Call, CaseSteps, Draw, Excluded, Expect, Factors, Row, case

from .inputs import (
    DTYPES,
    MATRIX_LAYOUTS,
    SINGLE,
    VECTOR_LAYOUTS,
    laid_out,
    vector_laid_out,
)
from .oracle import layernorm, layernorm_backward, rmsnorm, rmsnorm_backward

Tensor = torch.Tensor
FORWARD_AND_BACKWARD: Mapping[str, tuple[Any, ...]] = {
    "dtype": DTYPES,
    "weights": DTYPES,
    "rows": (2, 0, 1),
    "columns": (65, 1, 64, 1100),
    "values": ("even", "tiny", "far from 0", "halves of two sizes"),
    "eps": ("left out", 0.0, 1e-3),
    "x": MATRIX_LAYOUTS[:3],
    "dy": MATRIX_LAYOUTS[:3],
    "w": VECTOR_LAYOUTS,
    "rstd": VECTOR_LAYOUTS[:2],
}
NOTHING = Excluded(
    "where there is no row, nothing else shows",
    lambda row: (
        row["rows"] == 0
        and (
            row["values"] != "even"
            or row["columns"] != 65
            or row["x"] != "contiguous"
            or row["dy"] != "contiguous"
        )
    ),
)
ONE_COLUMN = Excluded(
    "a column by itself is 1 or -1, or 0: half precision shows nothing more, and no gradient",
    lambda row: row["columns"] == 1 and row["dtype"] != SINGLE,
)
RMS = Factors("rmsnorm", FORWARD_AND_BACKWARD, excluded=(NOTHING, ONE_COLUMN))
LAYER = Factors(
    "layernorm",
    {**FORWARD_AND_BACKWARD, "b": VECTOR_LAYOUTS, "mean": VECTOR_LAYOUTS[:2]},
    excluded=(
        NOTHING,
        ONE_COLUMN,
        Excluded(
            "a stride of mean shows where there are several rows, and their gradient is asked",
            lambda row: (
                row["mean"] != VECTOR_LAYOUTS[0] and (row["columns"] == 1 or row["rows"] < 2)
            ),
        ),
        Excluded(
            "a single column has no variance, and eps = 0 divides by it",
            lambda row: row["columns"] == 1 and row["eps"] == 0.0,
        ),
    ),
)


def _values(draw: Draw, row: Row, mean: float) -> Tensor:
    """Return rows as the factors want them, around a mean in units of their deviation."""
    x = draw.normal_tensor(row["rows"], row["columns"]) + mean
    match row["values"]:
        case "tiny":
            x = x * 1e-3
        case "far from 0":
            x = x + 4
        case "halves of two sizes":
            x[:, row["columns"] // 2 :] = 4 * x[:, row["columns"] // 2 :] + 4
    return laid_out(x.to(row["dtype"]), row["x"])


def _weights(draw: Draw, row: Row, name: str) -> Tensor:
    x = draw.uniform_tensor(row["columns"], low=0.5, high=1.5).to(row["weights"])
    return vector_laid_out(x, row[name])


def _given(row: Row, usual: float) -> tuple[float, dict[str, float]]:
    """Return eps, and the keyword that says so."""
    eps = row["eps"]
    return (usual, {}) if eps == "left out" else (eps, {"eps": eps})


def _slope(draw: Draw, row: Row) -> Tensor:
    dy = draw.normal_tensor(row["rows"], row["columns"]) + 0.5  # sums that do not cancel
    return laid_out(dy.to(row["dtype"]), row["dy"])


@case("rmsnorm", "combinations", public=1, hidden=3, factors=RMS)
def rms_combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, sizes, eps, values, and the strides of each argument."""
    x, w = _values(draw, row, 0.0), _weights(draw, row, "w")
    eps, given = _given(row, 1e-6)
    got = yield Call("rmsnorm", x, w, **given)
    yield Expect(got, lambda: rmsnorm(x, w, eps), label="rows and rstd")
    dy, rstd = _slope(draw, row), vector_laid_out(rmsnorm(x, w, eps)[1], row["rstd"])
    if row["columns"] > 1:  # of one column, dx is what rounding leaves
        got = yield Call("rmsnorm_backward", dy, x, w, rstd)
        yield Expect(got, lambda: rmsnorm_backward(dy, x, w, rstd), label="dx and dw")


@case("layernorm", "combinations", public=1, hidden=3, factors=LAYER)
def layer_combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, sizes, eps, values, and the strides of each argument."""
    x, w, b = _values(draw, row, 1.0), _weights(draw, row, "w"), _weights(draw, row, "b")
    eps, given = _given(row, 1e-5)
    got = yield Call("layernorm", x, w, b, **given)
    yield Expect(got, lambda: layernorm(x, w, b, eps), label="rows, mean and rstd")
    _, mean, rstd = layernorm(x, w, b, eps)
    mean, rstd = vector_laid_out(mean, row["mean"]), vector_laid_out(rstd, row["rstd"])
    dy = _slope(draw, row)
    if row["columns"] > 1:  # of one column, dx is what rounding leaves
        got = yield Call("layernorm_backward", dy, x, w_H=w, mean_M=mean, rstd_M=rstd)
        want = lambda: layernorm_backward(dy, x, w, mean, rstd)  # noqa: E731 - called after the reply
        yield Expect(got, want, label="dx, dw and db")
