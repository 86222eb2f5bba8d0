"""`column_sum` against fp64: P numbers of mixed sign, summed in fp32, exact to P·u of its terms."""

import pytest
import torch

from tests.kernels.nearness import DEVICE, ROUNDOFF, assert_near, load

op = load("sums")
U = ROUNDOFF[torch.float32]


@pytest.mark.parametrize("size", [(1, 1), (3, 300), (8, 256), (100, 33)])
def test_sizes(size):
    part = torch.randn(size, device=DEVICE)
    assert_near(op.column_sum(part, dtype=torch.float32), part.double().sum(0), 64 * U)


def test_no_rows_add_up_to_zero():
    assert not op.column_sum(torch.empty(0, 5, device=DEVICE), dtype=torch.float16).any()


def test_the_sum_is_rounded_once():
    part = torch.full((64, 2), 2048 / 63, device=DEVICE)
    got = op.column_sum(part, dtype=torch.float16)
    assert got.equal(part.double().sum(0).half())
