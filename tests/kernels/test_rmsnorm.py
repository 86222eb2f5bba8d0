"""`rmsnorm` and its gradients against fp64 and its autograd.

Tolerance, relative to the scale of the result: a sum of H squares of one sign in fp32 is exact to
log2(H)·u in a tree, 14 u at most here, and counts half under the root; then four roundings. 16 u.
The gradients have sums of mixed sign: 64 u. A rounding of TF32 is 8192 u. Half precision: one
rounding of the result, and 4 u of it where the oracle sums many rounded terms exactly.
"""

import pytest
import torch

from tests.kernels.nearness import DEVICE, DTYPES, ROUNDOFF, assert_near, load

op = load("rmsnorm")
U = ROUNDOFF[torch.float32]
FORWARD = {dtype: 1.02 * ROUNDOFF[dtype] for dtype in DTYPES} | {torch.float32: 16 * U}
BACKWARD = {dtype: 1.02 * ROUNDOFF[dtype] for dtype in DTYPES} | {torch.float32: 64 * U}


def gradients(dy, x, w, eps):
    """Return dx and dw of the oracle."""
    x, w = (tensor.double().requires_grad_() for tensor in (x, w))
    return torch.autograd.grad(op.naive_rmsnorm(x, w, eps=eps), (x, w), dy.double())


def check(x, w, *, eps=1e-6, dtype=torch.float32):
    y, rstd = op.rmsnorm(x, w, eps=eps)
    assert y.dtype == x.dtype
    assert_near(y, op.naive_rmsnorm(x, w, eps=eps), FORWARD[dtype])
    dy = torch.randn_like(y)
    dx, dw = op.rmsnorm_backward(dy, x, w, rstd)
    want_dx, want_dw = gradients(dy, x, w, eps)
    assert_near(dx, want_dx, BACKWARD[dtype])
    assert_near(dw, want_dw, BACKWARD[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 50, 1000, 8192])
def test_widths(width, dtype):
    x = torch.randn(5, width, device=DEVICE).to(dtype)
    w = torch.randn(width, device=DEVICE).to(dtype)
    # With one column dx is what is left of a difference: eps makes that more than roundings.
    check(x, w, eps=0.5 if width == 1 else 1e-6, dtype=dtype)


def test_more_rows_than_programs(monkeypatch):
    monkeypatch.setattr(op, "PROGRAMS", {75: {"P": 8}})
    check(torch.randn(19, 33, device=DEVICE), torch.randn(33, device=DEVICE))


def test_half_precision_weight_gradient_is_summed_in_fp32(monkeypatch):
    """2048 and many ones: a sum in fp16 stays at 2048, where its step is 2."""
    monkeypatch.setattr(op, "PROGRAMS", {75: {"P": 8}})
    x = torch.ones(19, 4, device=DEVICE, dtype=torch.float16)
    w = torch.ones(4, device=DEVICE, dtype=torch.float16)
    _, rstd = op.rmsnorm(x, w)
    dy = x.clone()
    dy[0] = 2048
    _, dw = op.rmsnorm_backward(dy, x, w, rstd)
    assert_near(dw, torch.full((4,), 2048.0 + 18), FORWARD[torch.float16])


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e4, 1e15])
def test_scales(scale):
    x = scale * torch.randn(3, 130, device=DEVICE)
    check(x, torch.randn(130, device=DEVICE), eps=1e-6)


def test_eps_is_inside_the_root():
    x = torch.full((1, 4), 1e-3, device=DEVICE)
    y, rstd = op.rmsnorm(x, torch.ones(4, device=DEVICE), eps=1e-6)
    assert_near(rstd, torch.tensor([(2e-6) ** -0.5]), FORWARD[torch.float32])
    assert_near(y, torch.full((1, 4), 0.5**0.5), FORWARD[torch.float32])


def test_constant_rows_and_a_huge_mean():
    x = torch.stack([torch.full((77,), 3.0), 1e6 + torch.randn(77)]).to(DEVICE)
    w = torch.randn(77, device=DEVICE)
    y, _ = op.rmsnorm(x, w)
    assert_near(y, op.naive_rmsnorm(x, w, eps=1e-6), FORWARD[torch.float32])


def test_views_with_poison_between():
    buffer = torch.full((2 * 60, 8), float("nan"), device=DEVICE)
    x = buffer[::2, 1:7].T
    x.copy_(torch.randn(6, 60))
    w = torch.full((120,), float("nan"), device=DEVICE)[::2]
    w.copy_(torch.randn(60))
    check(x, w)


def test_no_rows():
    x, w = torch.empty(0, 5, device=DEVICE), torch.ones(5, device=DEVICE)
    y, rstd = op.rmsnorm(x, w)
    assert y.shape == (0, 5)
    dx, dw = op.rmsnorm_backward(x, x, w, rstd)
    assert dx.shape == (0, 5)
    assert not dw.any()


X, W = torch.zeros(2, 3), torch.zeros(3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: op.rmsnorm(W, W),
        lambda: op.rmsnorm(X, X),
        lambda: op.rmsnorm(X, torch.zeros(4)),
        lambda: op.rmsnorm(X.long(), W),
        lambda: op.rmsnorm(X, W.double()),
        lambda: op.rmsnorm(X, W, eps=-1.0),
        lambda: op.rmsnorm(X, W.to("meta")),
        lambda: op.rmsnorm(torch.zeros(2, 0), torch.zeros(0)),
        lambda: op.rmsnorm(torch.zeros(1, 8193), torch.zeros(8193)),
        lambda: op.rmsnorm_backward(X[:1], X, W, torch.zeros(2)),
        lambda: op.rmsnorm_backward(X, X, W, torch.zeros(3)),
        lambda: op.rmsnorm_backward(X, X, W, torch.zeros(2).half()),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match="expected"):
        call()


def test_arithmetic():
    assert op.bytes_moved(rows=2, columns=8, element_bytes=2) == 88
    assert op.bytes_moved(rows=2, columns=8, element_bytes=2, backward=True) == 136
    assert op.flops(rows=2, columns=8) == 64
    assert op.flops(rows=2, columns=8, backward=True) == 144
