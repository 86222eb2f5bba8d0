"""`softmax` against fp64.

Tolerance, relative to the largest probability of the matrix. fp32: the argument x − max of an
exponential is exact to u·|x − max|, which matters only where the result is e^-|x − max|, so its
error is below u; a sum of N terms in a tree adds log2(N)·u at most; exponential and division a few
u. 32 u = 1.9e-6; TF32 or fp16 logits are off by 2^-11·|x|, 250 times as much. Half precision: one
rounding of the result.
"""

import pytest
import torch

from tests.kernels.nearness import DEVICE, DTYPES, ROUNDOFF, assert_near, load

op = load("softmax")
TOLERANCE = {dtype: 1.01 * ROUNDOFF[dtype] for dtype in DTYPES}
TOLERANCE[torch.float32] = 32 * ROUNDOFF[torch.float32]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("columns", [1, 3, 16, 1000, 4096, 4097, 65537])
def test_rows(columns, dtype):
    x = torch.randn(3, columns, device=DEVICE).to(dtype)
    assert_near(op.softmax(x), op.naive_softmax(x), TOLERANCE[dtype])


@pytest.mark.parametrize("columns", [100, 5000])
def test_each_row_has_its_own_scale(columns):
    x = torch.randn(4, columns, device=DEVICE)
    x[1] += 1e4
    x[2] = -1e4
    x[3] *= 1e4
    got, want = op.softmax(x), op.naive_softmax(x)
    for row in range(4):
        assert_near(got[row], want[row], TOLERANCE[torch.float32])


@pytest.mark.parametrize("columns", [7, 10000])
def test_infinite_logits(columns):
    x = torch.randn(4, columns, device=DEVICE)
    x[0] = -float("inf")
    x[1, : columns - 2] = -float("inf")  # whole blocks of -inf before the first number
    x[2, 1] = -float("inf")
    got = op.softmax(x)
    assert got[0].isnan().all()
    assert (got[1, : columns - 2] == 0).all()
    assert_near(got[1:], op.naive_softmax(x[1:]), TOLERANCE[torch.float32])


@pytest.mark.parametrize("columns", [50, 5000])
def test_views_with_poison_between(columns):
    buffer = torch.full((2 * columns + 3, 5), float("nan"), device=DEVICE)
    x = buffer[1 : 2 * columns : 2, 1:4].T
    x.copy_(torch.randn(3, columns))
    assert not x.is_contiguous()
    assert_near(op.softmax(x), op.naive_softmax(x), TOLERANCE[torch.float32])


def test_no_rows():
    assert op.softmax(torch.empty(0, 5, device=DEVICE)).shape == (0, 5)


@pytest.mark.parametrize(
    "x", [torch.zeros(3), torch.zeros(3, 0), torch.zeros(3, 3, dtype=torch.float64), [[1.0]]]
)
def test_bad_input(x):
    with pytest.raises(ValueError, match="expected"):
        op.softmax(x)


def test_arithmetic():
    assert op.bytes_moved(rows=2, columns=3, element_bytes=2) == 24
    assert op.flops(rows=2, columns=3) == 30
