"""`layernorm` and its gradients against fp64 and its autograd.

Tolerance, relative to the scale of the result: sums in a tree are exact to log2(H)·u of the sum of
magnitudes, then some roundings: 32 u forward, 64 u backward; a rounding of TF32 is 8192 u. Where
the mean is C times the deviation, x itself carries errors of C·u: the mean in fp32 may be off by as
much, and so may a difference to it. E[x²] − E[x]² is off by C²·u and fails. Half precision: one
rounding.
"""

import pytest
import torch

from tests.kernels.nearness import DEVICE, DTYPES, ROUNDOFF, assert_near, load

op = load("layernorm")
U = ROUNDOFF[torch.float32]
HALF = {dtype: 1.02 * ROUNDOFF[dtype] for dtype in DTYPES}
FORWARD, BACKWARD = HALF | {torch.float32: 32 * U}, HALF | {torch.float32: 64 * U}


def gradients(dy, x, w, b, eps):
    """Return dx, dw and db of the oracle."""
    leaves = tuple(tensor.double().requires_grad_() for tensor in (x, w, b))
    return torch.autograd.grad(op.naive_layernorm(*leaves, eps=eps), leaves, dy.double())


def check(x, w, b, *, eps=1e-5, dtype=torch.float32):
    y, mean, rstd = op.layernorm(x, w, b, eps=eps)
    assert y.dtype == x.dtype
    assert_near(y, op.naive_layernorm(x, w, b, eps=eps), FORWARD[dtype])
    dy = torch.randn_like(y)
    got = op.layernorm_backward(dy, x, w_H=w, mean_M=mean, rstd_M=rstd)
    for ours, theirs in zip(got, gradients(dy, x, w, b, eps), strict=True):
        assert_near(ours, theirs, BACKWARD[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [2, 50, 1000, 8192])
def test_widths(width, dtype):
    x = torch.randn(5, width, device=DEVICE).to(dtype)
    w, b = torch.randn(2, width, device=DEVICE).to(dtype)
    check(x, w, b, eps=0.1 if width == 2 else 1e-5, dtype=dtype)


def test_one_column_is_its_bias():
    x, w, b = torch.randn(5, 1, device=DEVICE), *torch.randn(2, 1, device=DEVICE)
    y, mean, rstd = op.layernorm(x, w, b)
    assert torch.equal(y, b.expand(5, 1))
    dx, dw, db = op.layernorm_backward(x, x, w_H=w, mean_M=mean, rstd_M=rstd)
    assert not dx.any()
    assert not dw.any()
    assert_near(db, x.sum(dim=0), 4 * U)


def test_more_rows_than_programs(monkeypatch):
    monkeypatch.setattr(op, "PROGRAMS", {75: {"P": 8}})
    check(torch.randn(19, 33, device=DEVICE), *torch.randn(2, 33, device=DEVICE))


@pytest.mark.parametrize("mean", [1e3, -1e4, 1e5])
def test_a_huge_mean_does_not_cancel(mean):
    """E[x²] − E[x]² would be off by (1e4)² u = 6 at a mean of 1e4."""
    x = mean + torch.randn(4, 1000, device=DEVICE)
    w, b = torch.randn(2, 1000, device=DEVICE)
    y, _, _ = op.layernorm(x, w, b)
    assert_near(y, op.naive_layernorm(x, w, b, eps=1e-5), 2 * abs(mean) * U)


def test_constant_rows_are_the_bias():
    x = torch.tensor([[0.0], [1.0], [3e8]], device=DEVICE).expand(-1, 64)
    w, b = torch.randn(2, 64, device=DEVICE)
    y, _, _ = op.layernorm(x, w, b)
    assert torch.equal(y, b.expand(3, -1))


@pytest.mark.parametrize("scale", [1e-12, 1e15])
def test_scales(scale):
    check(scale * torch.randn(3, 130, device=DEVICE), *torch.randn(2, 130, device=DEVICE))


def test_views_with_poison_between():
    buffer = torch.full((2 * 60, 8), float("nan"), device=DEVICE)
    x = buffer[::2, 1:7].T
    x.copy_(torch.randn(6, 60))
    w, b = torch.full((120, 2), float("nan"), device=DEVICE)[::2].T
    w.copy_(torch.randn(60))
    b.copy_(torch.randn(60))
    check(x, w, b)


def test_no_rows():
    x, w = torch.empty(0, 5, device=DEVICE), torch.ones(5, device=DEVICE)
    y, mean, rstd = op.layernorm(x, w, w)
    assert y.shape == (0, 5)
    _, dw, db = op.layernorm_backward(x, x, w_H=w, mean_M=mean, rstd_M=rstd)
    assert not dw.any()
    assert not db.any()


X, W = torch.zeros(2, 3), torch.zeros(3)


def backward(dy=X, *, mean=W[:2], rstd=W[:2]):
    return op.layernorm_backward(dy, X, w_H=W, mean_M=mean, rstd_M=rstd)


@pytest.mark.parametrize(
    "call",
    [
        lambda: op.layernorm(W, W, W),
        lambda: op.layernorm(X, X, W),
        lambda: op.layernorm(X, W, torch.zeros(4)),
        lambda: op.layernorm(X.long(), W, W),
        lambda: op.layernorm(X, W, W.to("meta")),
        lambda: op.layernorm(X, W, W, eps=-1.0),
        lambda: op.layernorm(torch.zeros(2, 0), torch.zeros(0), torch.zeros(0)),
        lambda: op.layernorm(torch.zeros(1, 8193), *torch.zeros(2, 8193)),
        lambda: backward(X[:1]),
        lambda: backward(X.half()),
        lambda: backward(mean=W),
        lambda: backward(rstd=W[:2].half()),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match="expected"):
        call()


def test_arithmetic():
    assert op.bytes_moved(rows=2, columns=8, element_bytes=2) == 112
    assert op.bytes_moved(rows=2, columns=8, element_bytes=2, backward=True) == 160
    assert op.flops(rows=2, columns=8) == 128
    assert op.flops(rows=2, columns=8, backward=True) == 208
