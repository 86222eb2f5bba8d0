"""Cases of `matmul` in which several things vary at once.

Takes: `Draw`, a row of factors. Gives: a case maker. Does not cover: speed; one thing at a time
(see `product_cases`).
"""

import torch

from grader.author import Call, CaseSteps, Draw, Excluded, Expect, Factors, Row, case

from .inputs import DTYPES, HALF, MATRIX_LAYOUTS, SINGLE, VECTOR_LAYOUTS, laid_out, vector_laid_out
from .oracle import exact_product, matmul

Tensor = torch.Tensor
LARGEST_PRODUCT = 90_000
"""Multiply-adds."""


def _empty(size: str, other: str) -> Excluded:
    """Return the rule that another factor does not vary where a size is 0."""
    return Excluded(
        f"with {size} = 0 the level of {other} does not show",
        lambda row: row[size] == 0 and row[other] not in ("contiguous", "left out"),
    )


PRODUCT = Factors(
    "matmul",
    {
        "dtype": DTYPES,
        "M": (18, 0, 1, 65),
        "N": (33, 0, 1, 65),
        "K": (32, 0, 1, 70),
        "a": MATRIX_LAYOUTS[:3],
        "b": MATRIX_LAYOUTS[:3],
        "bias": ("left out", None, SINGLE, HALF),
        "view of bias": VECTOR_LAYOUTS,
        "activation": ("left out", "none", "gelu", "gelu_tanh"),
    },
    excluded=(
        Excluded(
            "a larger product shows nothing more, and costs time",
            lambda row: row["M"] * row["N"] * row["K"] > LARGEST_PRODUCT,
        ),
        *(_empty(size, other) for size in "MNK" for other in "ab"),
        *(_empty(size, other) for size in "MN" for other in ("bias", "activation")),
        Excluded(
            "no bias has no view",
            lambda row: row["bias"] in ("left out", None) and row["view of bias"] != "contiguous",
        ),
    ),
)


def _factor(draw: Draw, row: Row, shape: tuple[int, int]) -> Tensor:
    """Return normal numbers; where no activation follows, whole numbers in half precision.

    Sums of those are exact in float32, and so have one right rounding.
    """
    if _is_exact(row):
        return draw.integer_tensor(*shape, low=-8, high=31).to(row["dtype"])
    x = draw.normal_tensor(*shape) + (1 if row["N"] == 1 else 0)  # one sum must not cancel
    size: int = max(1, row["K"])
    dtype: torch.dtype = row["dtype"]
    return torch.mul(x, float(size) ** -0.25).to(dtype)


def _is_exact(row: Row) -> bool:
    return bool(row["dtype"] != SINGLE and row["activation"] in ("left out", "none"))


@case("matmul", "combinations", public=1, hidden=3, factors=PRODUCT)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, sizes up to 70, strides of each argument, bias, activation.

    In half precision, without an activation, the numbers are whole, so that one rounding is right.
    """
    a = laid_out(_factor(draw, row, (row["M"], row["K"])), row["a"])
    b = laid_out(_factor(draw, row, (row["K"], row["N"])), row["b"])
    bias, activation, view = None, row["activation"], row["view of bias"]
    if row["bias"] in (SINGLE, HALF):
        numbers = draw.integer_tensor(row["N"], low=-2000, high=-1)
        bias = (numbers if _is_exact(row) else numbers / 1000).to(row["bias"])
    bias = bias if bias is None else vector_laid_out(bias, view)
    given = (a, b) if row["bias"] == "left out" else (a, b, bias)
    keywords = {} if activation == "left out" else {"activation": activation}
    got = yield Call("matmul", *given, **keywords)
    if _is_exact(row):
        want = exact_product(a, b, bias, "none")
        yield Expect(got, want, label="product", rounded_once=row["dtype"])
    else:
        kind = keywords.get("activation", "none")
        yield Expect(got, lambda: matmul(a, b, bias, kind), label="product")
