"""Cases of `matrix_add` and `softmax`.

Takes: `Draw`. Gives: case makers. Does not cover: speed; offsets beyond 2³¹ (see `workloads`).
"""

import math

import torch

from grader.author import Call, CaseSteps, Draw, Expect, Raises, case

from .inputs import HALF, SINGLE, expanded, sliced, transposed
from .oracle import matrix_add, softmax


def _add(x: torch.Tensor, y: torch.Tensor) -> CaseSteps:
    got = yield Call("matrix_add", x, y)
    yield Expect(got, lambda: matrix_add(x, y), label="sum", exact=True)


@case("matrix_add", "shapes", public=4, hidden=4)
def add_shapes(draw: Draw) -> CaseSteps:
    """Contiguous matrices: sizes that are no multiple of a block, one element, none."""
    sizes = ((draw.integer(33, 60), draw.integer(65, 99)), (1, 1), (draw.integer(2, 9), 0))
    rows, columns = sizes[draw.index] if draw.index < 3 else (1, draw.integer(1030, 1500))
    dtype = HALF if draw.index == 3 else SINGLE
    yield from _add(
        draw.normal_tensor(rows, columns, dtype=dtype, scale=100),
        draw.normal_tensor(rows, columns, dtype=dtype),
    )


@case("matrix_add", "strides", public=2, hidden=4)
def add_strides(draw: Draw) -> CaseSteps:
    """Views: transposed, sliced in both directions, a row seen many times."""
    rows, columns = draw.integer(17, 40), draw.integer(35, 70)
    views = (transposed, sliced, expanded)
    x = views[(draw.index + 1) % 3](draw, rows, columns)
    y = draw.normal_tensor(rows, columns) if draw.index == 0 else sliced(draw, rows, columns)
    if draw.index == 3:
        x, y = x.T, y.T
    yield from _add(x, y)


@case("matrix_add", "bad_input", hidden=1)
def add_bad_input(draw: Draw) -> CaseSteps:
    """Shapes, ranks or dtypes that do not fit raise ValueError."""
    x = draw.normal_tensor(draw.integer(2, 5), 6)
    bad = [
        ("a matrix with a column less", (x, x[:, 1:])),
        ("a single row, to be broadcast", (x, x[:1])),
        ("a single column, to be broadcast", (x[:, :1], x)),
        ("vectors", (x[0], x[0])),
        ("two dtypes", (x, x.half())),
        ("integers", (x.int(), x.int())),
        ("float64", (x.double(), x.double())),
    ]
    for what, arguments in draw.shuffled(bad):
        yield Raises(Call("matrix_add", *arguments), "ValueError", what)


def _softmax(x: torch.Tensor) -> CaseSteps:
    got = yield Call("softmax", x)
    yield Expect(got, lambda: softmax(x), label="probabilities", per_row=True)


@case("softmax", "rows", public=4, hidden=5)
def softmax_rows(draw: Draw) -> CaseSteps:
    """Contiguous rows of normal logits: 1000, 1, 3 and 65537 columns, float16."""
    columns = (draw.integer(990, 1010), 1, 3, 1000, 65537)[draw.index]
    rows = 2 if columns == 65537 else draw.integer(2, 5)
    dtype = HALF if draw.index == 3 else SINGLE
    x = draw.normal_tensor(rows, columns, scale=3, dtype=dtype)
    x[:, -1] = 20  # who misses the tail misses most of the sum
    yield from _softmax(x)


@case("softmax", "large_logits", hidden=2)
def softmax_large_logits(draw: Draw) -> CaseSteps:
    """Rows around 10⁴ and below −10⁴, rows between both, constant and denormal rows."""
    columns = draw.integer(33, 60)
    x = draw.normal_tensor(6, columns)
    x[0] += 1e4
    x[1] -= 1.1e4
    x[2, ::2], x[2, 1::2] = 1e4, -1e4
    x[3] = -1e4
    x[4] *= 1e-42
    yield from _softmax(x)


@case("softmax", "infinite", hidden=3)
def softmax_infinite(draw: Draw) -> CaseSteps:
    """Entries of −inf, at the beginning of a long row as well; a row of nothing else is NaN.

    One of the long rows lies below −10⁴, where some begin to look for a maximum; one is −10⁴.
    """
    columns = (draw.integer(20, 30), draw.integer(40, 60), 40_000)[draw.index]
    x = draw.normal_tensor(4, columns)
    x[3] = -1e4
    x[0, : columns - draw.integer(2, 9)] = -math.inf
    x[1] = -math.inf
    x[2, draw.integer(0, columns - 1)] = -math.inf
    x[2] -= 1.1e4 if draw.index == 2 else 0
    yield from _softmax(x)


@case("softmax", "strides", hidden=3)
def softmax_strides(draw: Draw) -> CaseSteps:
    """Transposed, sliced and expanded logits."""
    view = (transposed, sliced, expanded)[draw.index]
    yield from _softmax(view(draw, draw.integer(3, 6), draw.integer(33, 70)))


@case("softmax", "bad_input", hidden=1)
def softmax_bad_input(draw: Draw) -> CaseSteps:
    """No matrix, no columns or integers raise ValueError."""
    x = draw.normal_tensor(draw.integer(2, 5), 6)
    bad = [
        ("a vector", x[0]),
        ("no columns", x[:, :0]),
        ("integers", x.int()),
        ("float64", x.double()),
    ]
    for what, logits in draw.shuffled(bad):
        yield Raises(Call("softmax", logits), "ValueError", what)
