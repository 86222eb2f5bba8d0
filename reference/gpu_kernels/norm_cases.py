"""Cases of `rmsnorm` and `layernorm`, forward and backward.

Takes: `Draw`. Gives: case makers. Does not cover: speed.
"""

import torch

from grader.author import Call, CaseSteps, Draw, Expect, Raises, case

from .inputs import HALF, SINGLE, expanded, sliced, transposed, vector
from .oracle import layernorm, layernorm_backward, rmsnorm, rmsnorm_backward

Tensor = torch.Tensor


def _rows(draw: Draw) -> Tensor:
    """Return rows of 50, 1 (many of these), 8192 columns and views of other sizes, by instance."""
    if draw.index == 1:
        # More rows than one block of a kernel that takes several. `eps` is for rows of their own.
        return draw.uniform_tensor(70, 1, low=0.5, high=1.5)
    if draw.index == 2:
        return draw.normal_tensor(2, 8192, dtype=HALF) + 1  # a mean that is not all rounding
    columns = 50 if draw.index == 0 else draw.integer(17, 45)
    return sliced(draw, 9 if draw.index == 3 else draw.integer(3, 6), columns, mean=1)


def _rms(x: Tensor, w: Tensor, eps: float) -> CaseSteps:
    got = yield Call("rmsnorm", x, w, eps=eps)
    yield Expect(got, lambda: rmsnorm(x, w, eps), label="rows and rstd")


@case("rmsnorm", "forward", public=4, hidden=4)
def rms_forward(draw: Draw) -> CaseSteps:
    """Rows of 50, 1 and 8192 columns, sliced views, float16, weights of another dtype."""
    x = _rows(draw)
    w = vector(draw, x.shape[1], HALF if draw.index == 3 else SINGLE)
    yield from _rms(x, w, 1e-6)


@case("rmsnorm", "extreme_rows", hidden=3)
def rms_extreme_rows(draw: Draw) -> CaseSteps:
    """Rows so small that eps decides, rows of zeros, rows with a huge mean."""
    x = draw.normal_tensor(5, 32, scale=(1e-4, 1e-3, 1e-20)[draw.index])
    x[3] = 0
    x[4] = 0.25 * (x[4] + 1e-4)
    if draw.index == 1:
        x = x * 1e-3 + 5e3
    yield from _rms(x, vector(draw, 32), (1e-5, 1e-6, 1e-3)[draw.index])


def _rms_gradients(draw: Draw, dy: Tensor, x: Tensor, w: Tensor) -> CaseSteps:
    rstd = rmsnorm(x, w, 1e-6)[1]
    got = yield Call("rmsnorm_backward", dy, x, w, rstd)
    yield Expect(got, lambda: rmsnorm_backward(dy, x, w, rstd), label="dx and dw")


def _slopes_and_rows(draw: Draw, mean: float) -> tuple[Tensor, Tensor]:
    """Return dy and x: views of 50 and of a few columns, and at last a dense row of 8192."""
    if draw.index == 3:
        return draw.normal_tensor(1, 8192), draw.normal_tensor(1, 8192) + mean
    columns = (50, draw.integer(3, 9), draw.integer(17, 45))[draw.index]
    x = sliced(draw, 9 if draw.index == 2 else draw.integer(3, 7), columns, mean=mean)
    return (sliced, transposed, expanded)[draw.index](draw, x.shape[0], columns), x


@case("rmsnorm", "backward", hidden=4)
def rms_backward(draw: Draw) -> CaseSteps:
    """Gradients of views and of expanded ones, of 50 columns, a few, and 8192."""
    dy, x = _slopes_and_rows(draw, 0.0)
    yield from _rms_gradients(draw, dy, x, vector(draw, x.shape[1]))


COLUMNS = 32


def _exact_rows(draw: Draw, mean: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return float16 dy, x and w of which all results are exact in float32, and so rounded once.

    dy has 11 bits, 8 to 16; x is 2 above and below its mean; w is 0.5, 1 or 2. Who adds in float16
    loses bits with every row.
    """
    rows = 20 if draw.index == 0 else 100
    dy = draw.integer_tensor(rows, COLUMNS, low=1024, high=2047) / 128
    signs = torch.tensor([-1.0, 1.0]).repeat(COLUMNS // 2)
    x = torch.stack([2 * signs[draw.shuffled(range(COLUMNS))] for _ in range(rows)]) + mean
    w = 2.0 ** draw.integer_tensor(COLUMNS, low=-1, high=1)
    return dy.to(HALF), x.to(HALF), w.to(HALF)


@case("rmsnorm", "weight_gradient", hidden=2)
def rms_weight_gradient(draw: Draw) -> CaseSteps:
    """20 and 100 rows of float16; all sums are exact in float32, and are rounded once."""
    dy, x, w = _exact_rows(draw, 0.0)
    rstd = rmsnorm(x, w, 0.0)[1]
    got = yield Call("rmsnorm_backward", dy, x, w, rstd)
    want = rmsnorm_backward(dy, x.double(), w.double(), rstd)
    yield Expect(got, want, label="dx and dw", rounded_once=HALF)


@case("rmsnorm", "bad_input", hidden=1)
def rms_bad_input(draw: Draw) -> CaseSteps:
    """What does not fit raises ValueError, forward and backward."""
    x, w = draw.normal_tensor(draw.integer(3, 5), 8), vector(draw, 8)
    rstd = rmsnorm(x, w, 1e-6)[1]
    bad = [
        ("a vector for rows", Call("rmsnorm", x[0], w)),
        ("a weight too few", Call("rmsnorm", x, w[1:])),
        ("integers", Call("rmsnorm", x.int(), w)),
        ("rows in float64", Call("rmsnorm", x.double(), w)),
        ("a weight of integers", Call("rmsnorm", x, w.int())),
        ("a matrix of weights", Call("rmsnorm", x, w[None])),
        ("a negative eps", Call("rmsnorm", x, w, eps=-1e-6)),
        ("a gradient with a row less", Call("rmsnorm_backward", x[1:], x, w, rstd)),
        ("a gradient of another dtype", Call("rmsnorm_backward", x.half(), x, w, rstd)),
        ("an rstd too few", Call("rmsnorm_backward", x, x, w, rstd[1:])),
        ("rstd in float16", Call("rmsnorm_backward", x, x, w, rstd.half())),
        ("a column of rstd", Call("rmsnorm_backward", x, x, w, rstd[:, None])),
        ("backward, a weight too few", Call("rmsnorm_backward", x, x, w[1:], rstd)),
        ("backward, integers", Call("rmsnorm_backward", x.int(), x.int(), w, rstd)),
    ]
    for what, call in draw.shuffled(bad):
        yield Raises(call, "ValueError", what)


def _layer(x: Tensor, w: Tensor, b: Tensor, eps: float) -> CaseSteps:
    got = yield Call("layernorm", x, w, b, eps=eps)
    yield Expect(got, lambda: layernorm(x, w, b, eps), label="rows, mean and rstd")


@case("layernorm", "forward", public=4, hidden=4)
def layer_forward(draw: Draw) -> CaseSteps:
    """Rows of 50, 1 and 8192 columns, sliced views, float16, weights of another dtype."""
    x = _rows(draw)
    dtype = HALF if draw.index == 3 else SINGLE
    w, b = vector(draw, x.shape[1], dtype), vector(draw, x.shape[1], dtype)
    yield from _layer(x, w, b, 1e-5)


@case("layernorm", "huge_mean", hidden=3)
def layer_huge_mean(draw: Draw) -> CaseSteps:
    """Means some thousand times the deviation, and constant rows, where eps decides."""
    x = draw.normal_tensor(4, 64) + draw.integer(3000, 5000) * (-1.0) ** draw.index
    x[2] = 2.0
    yield from _layer(x, vector(draw, 64), vector(draw, 64), 1e-5)


def _layer_gradients(draw: Draw, dy: Tensor, x: Tensor, w: Tensor) -> CaseSteps:
    _, mean, rstd = layernorm(x, w, w, 1e-5)
    got = yield Call("layernorm_backward", dy, x, w_H=w, mean_M=mean, rstd_M=rstd)
    want = lambda: layernorm_backward(dy, x, w, mean, rstd)  # noqa: E731 - called after the reply
    yield Expect(got, want, label="dx, dw and db")


@case("layernorm", "backward", hidden=4)
def layer_backward(draw: Draw) -> CaseSteps:
    """Gradients of views and of expanded ones, with a mean that is not 0."""
    dy, x = _slopes_and_rows(draw, 2.0)
    yield from _layer_gradients(draw, dy, x, vector(draw, x.shape[1]))


@case("layernorm", "weight_gradients", hidden=2)
def layer_weight_gradients(draw: Draw) -> CaseSteps:
    """20 and 100 rows of float16; all sums are exact in float32, and are rounded once."""
    dy, x, w = _exact_rows(draw, 3.0)
    _, mean, rstd = layernorm(x, w, w, 0.0)
    got = yield Call("layernorm_backward", dy, x, w_H=w, mean_M=mean, rstd_M=rstd)
    want = layernorm_backward(dy, x.double(), w.double(), mean, rstd)
    yield Expect(got, want, label="dx, dw and db", rounded_once=HALF)


@case("layernorm", "bad_input", hidden=1)
def layer_bad_input(draw: Draw) -> CaseSteps:
    """What does not fit raises ValueError, forward and backward."""
    x, w = draw.normal_tensor(draw.integer(3, 5), 8), vector(draw, 8)
    _, mean, rstd = layernorm(x, w, w, 1e-5)
    sums = {"w_H": w, "mean_M": mean, "rstd_M": rstd}
    bad = [
        ("a vector for rows", Call("layernorm", x[0], w, w)),
        ("a weight too few", Call("layernorm", x, w[1:], w)),
        ("a bias too few", Call("layernorm", x, w, w[1:])),
        ("integers", Call("layernorm", x.int(), w, w)),
        ("rows in float64", Call("layernorm", x.double(), w, w)),
        ("a weight of integers", Call("layernorm", x, w.int(), w)),
        ("a matrix of biases", Call("layernorm", x, w, w[None])),
        ("a negative eps", Call("layernorm", x, w, w, eps=-1e-6)),
        ("a gradient with a row less", Call("layernorm_backward", x[1:], x, **sums)),
        ("a gradient of another dtype", Call("layernorm_backward", x.half(), x, **sums)),
        ("backward, a weight too few", Call("layernorm_backward", x, x, **{**sums, "w_H": w[1:]})),
        ("mean in float16", Call("layernorm_backward", x, x, **{**sums, "mean_M": mean.half()})),
        ("an rstd too few", Call("layernorm_backward", x, x, **{**sums, "rstd_M": rstd[1:]})),
        ("a mean too few", Call("layernorm_backward", x, x, **{**sums, "mean_M": mean[1:]})),
        ("rstd in float16", Call("layernorm_backward", x, x, **{**sums, "rstd_M": rstd.half()})),
    ]
    for what, call in draw.shuffled(bad):
        yield Raises(call, "ValueError", what)
