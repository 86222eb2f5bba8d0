"""`matmul` and its epilogue against fp64.

Tolerance, relative to the largest element. fp32: K products of mixed sign, each addition rounded,
an error of √K·u to a few of them of the scale √K: (8 + √K)·u. TF32 rounds each input to 2^-11, an
error of 4e-4 of the scale whatever K, and would need K = 5e7. Half precision: one rounding of the
result; products in half are exact in the fp32 accumulator. An accumulator in half would add √K of
its own roundings, and is shown to fail.
"""

import pytest
import torch

from tests.kernels.nearness import DEVICE, DTYPES, ROUNDOFF, assert_near, error_of, load

op = load("matmul")
U = ROUNDOFF[torch.float32]


def tolerance(dtype, k):
    return (8 + k**0.5) * U if dtype == torch.float32 else 1.02 * ROUNDOFF[dtype]


def check(a, b, bias=None, activation="none"):
    got = op.matmul(a, b, bias, activation=activation)
    assert got.dtype == a.dtype
    want = op.naive_matmul(a, b, bias, activation=activation)
    assert_near(got, want, tolerance(a.dtype, a.shape[1]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "mnk", [(1, 1, 1), (1, 70, 33), (70, 1, 33), (65, 66, 1), (64, 64, 64), (129, 130, 100)]
)
def test_sizes(mnk, dtype):
    m, n, k = mnk
    check(*(torch.randn(size, device=DEVICE).to(dtype) for size in ((m, k), (k, n))))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["none", "gelu", "gelu_tanh"])
def test_epilogue(activation, dtype):
    a, b = torch.randn(40, 50, device=DEVICE) / 5, torch.randn(50, 70, device=DEVICE)
    check(a.to(dtype), b.to(dtype), torch.randn(70, device=DEVICE).to(dtype), activation)
    check(a.to(dtype), b.to(dtype), None, activation)


def test_the_two_gelus_differ():
    one = torch.full((1, 1), 2.0, device=DEVICE)
    exact, tanh = (
        float(op.matmul(one, one / 2, activation=name)) for name in ("gelu", "gelu_tanh")
    )
    assert exact == pytest.approx(1.9544997361, rel=1e-6)
    assert tanh == pytest.approx(1.9545976844, rel=1e-6)


def test_large_negative_values_leave_no_nan():
    a = torch.full((1, 1), -1e4, device=DEVICE)
    for name in ("gelu", "gelu_tanh"):
        assert float(op.matmul(a, torch.ones_like(a), activation=name)) == 0
        assert float(op.matmul(-a, torch.ones_like(a), activation=name)) == 1e4


def test_more_groups_of_tiles_than_one():
    check(torch.randn(64 * 10 + 1, 5, device=DEVICE), torch.randn(5, 40, device=DEVICE))


@pytest.mark.parametrize("dtype", DTYPES)
def test_views_with_poison_between(dtype):
    buffer = torch.full((150, 150), float("nan"), device=DEVICE, dtype=dtype)
    a, b = buffer[1:81:2, 3:103:3].T, buffer[90:150, 0:80:2].T
    a.copy_(torch.randn(34, 40))
    b.copy_(torch.randn(40, 60))
    bias = buffer[82, :60]
    bias.copy_(torch.randn(60))
    check(a, b, bias)
    check(b.T, a.T)


def test_an_accumulator_in_half_would_fail():
    a, b = (torch.rand(size, device=DEVICE).half() for size in ((20, 1500), (1500, 20)))
    check(a, b)
    total = torch.zeros(20, 20, dtype=torch.float16)
    for start in range(0, 1500, 16):
        part = a[:, start : start + 16].float() @ b[start : start + 16].float()
        total += part.half().cpu()
    assert error_of(total, op.naive_matmul(a, b)) > 2 * tolerance(torch.float16, 1500)


def test_rounding_to_tf32_would_fail():
    a, b = torch.randn(30, 400), torch.randn(400, 30)
    rounded = (a.half().double(), b.half().double())  # as many bits as TF32
    assert error_of(op.naive_matmul(*rounded), op.naive_matmul(a, b)) > 10 * tolerance(a.dtype, 400)


def test_empty():
    a, b = torch.zeros(3, 0, device=DEVICE), torch.zeros(0, 4, device=DEVICE)
    bias = torch.randn(4, device=DEVICE)
    assert torch.equal(op.matmul(a, b, bias), bias.expand(3, 4))
    assert op.matmul(a[:0], b).shape == (0, 4)


A = torch.zeros(2, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: op.matmul(A, A),
        lambda: op.matmul(A, A.T.half()),
        lambda: op.matmul(A.double(), A.T.double()),
        lambda: op.matmul(A[0], A.T),
        lambda: op.matmul(A, A.T.to("meta")),
        lambda: op.matmul(A, A.T, A[0]),
        lambda: op.matmul(A, A.T, A[:, :2]),
        lambda: op.matmul(A, A.T, activation="relu"),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match="expected"):
        call()


def test_arithmetic():
    assert op.bytes_moved(M=2, N=3, K=4, element_bytes=2, bias=True) == 58
    assert op.flops(M=2, N=3, K=4) == 48
