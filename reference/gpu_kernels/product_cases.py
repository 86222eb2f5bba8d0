"""Cases of `matmul`.

Takes: `Draw`. Gives: case makers. Does not cover: speed.
"""

import torch

from grader.author import Call, CaseSteps, Draw, Expect, Raises, case

from .inputs import HALF, SINGLE, expanded, sliced, transposed, vector
from .oracle import exact_product, matmul

Tensor = torch.Tensor


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None, activation: str = "") -> CaseSteps:
    keywords = {"activation": activation} if activation else {}
    given = (a, b) if bias is None else (a, b, bias)
    got = yield Call("matmul", *given, **keywords)
    yield Expect(got, lambda: matmul(a, b, bias, activation or "none"), label="product")


@case("matmul", "product", public=5, hidden=6)
def product(draw: Draw) -> CaseSteps:
    """Sizes that are no multiple of a block, K = 1, M = 1, a size of 0, float16; many rows."""
    some = (draw.integer(33, 50), draw.integer(35, 60), draw.integer(17, 31) + 32)
    high = (draw.integer(530, 570), 33, 1)  # more than 8 tiles of 64 rows, two columns of tiles
    sizes = (some, (17, draw.integer(20, 40), 1), (1, 33, 37), (3, 5, 0), some, high)
    (m, n, k), dtype = sizes[draw.index], HALF if draw.index == 4 else SINGLE
    yield from _product(
        draw.normal_tensor(m, k, dtype=dtype), draw.normal_tensor(k, n, dtype=dtype)
    )


@case("matmul", "strides", hidden=3)
def strides(draw: Draw) -> CaseSteps:
    """a or b transposed or sliced, a row of a seen many times."""
    m, n = draw.integer(5, 20), draw.integer(5, 20)
    first, second = ((transposed, sliced), (sliced, transposed), (expanded, sliced))[draw.index]
    yield from _product(first(draw, m, 32), second(draw, 32, n))


@case("matmul", "epilogue", public=4, hidden=4)
def epilogue(draw: Draw) -> CaseSteps:
    """A bias, GELU, its tanh approximation, and both together."""
    a, b = draw.normal_tensor(18, 16, scale=0.3), draw.normal_tensor(16, 33)
    bias = None if draw.index == 2 else vector(draw, 33, HALF if draw.index == 3 else SINGLE) - 1
    activation = ("gelu", "", "gelu_tanh", "gelu_tanh")[draw.index]
    yield from _product(a, b, bias, activation)


@case("matmul", "accumulation", hidden=1)
def accumulation(draw: Draw) -> CaseSteps:
    """A long K of positive float16 numbers with 6 bits, and a bias: exact sums, rounded once."""
    length = 16 * draw.integer(64, 66)
    a, b = (draw.integer_tensor(*shape, low=0, high=63) for shape in ((8, length), (length, 16)))
    a, b = (a / 64).to(HALF), (b / 64).to(HALF)
    bias = draw.integer_tensor(16, low=-2000, high=-1).to(HALF)
    got = yield Call("matmul", a, b, bias)
    yield Expect(got, exact_product(a, b, bias, "none"), label="product", rounded_once=HALF)


@case("matmul", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """What does not fit raises ValueError."""
    a, b, bias = draw.normal_tensor(3, 4), draw.normal_tensor(4, 5), draw.normal_tensor(5)
    bad = [
        ("a K too short", Call("matmul", a, b[1:])),
        ("a vector", Call("matmul", a[0], b)),
        ("a vector b", Call("matmul", a, b[:, 0])),
        ("two dtypes", Call("matmul", a, b.half())),
        ("integers", Call("matmul", a.int(), b.int())),
        ("float64", Call("matmul", a.double(), b.double())),
        ("a bias too short", Call("matmul", a, b, bias[1:])),
        ("a bias of one number", Call("matmul", a, b, bias[:1])),
        ("a row for a bias", Call("matmul", a, b, bias[None])),
        ("a bias of integers", Call("matmul", a, b, bias.int())),
        ("an activation in capitals", Call("matmul", a, b, activation="GELU")),
        ("an unknown activation", Call("matmul", a, b, activation="relu")),
    ]
    for what, call in draw.shuffled(bad):
        yield Raises(call, "ValueError", what)
