"""`matrix_add` is exact: the sum of two numbers, rounded once."""

import pytest
import torch

from tests.kernels.nearness import DEVICE, DTYPES, load

op = load("matrix_add")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (33, 65), (1, 4099), (4099, 1), (0, 7), (7, 0)])
def test_sums_are_exact(shape, dtype):
    x, y = (torch.randn(shape, device=DEVICE, dtype=dtype) for _ in range(2))
    assert torch.equal(op.matrix_add(x, y), op.naive_matrix_add(x, y))


VIEWS = {
    "both transposed": lambda x: (x.T, (2 * x).T),
    "one transposed": lambda x: (x[:60, :60], x[:60, :60].T),
    "sliced": lambda x: (x[1:50:2, 3:80:3], x[2:51:2, 1:78:3]),
    "broadcast": lambda x: (x[:1].expand(70, -1), x[:70, :1].expand(-1, 90)),
    "last axis of stride 0": lambda x: (x[:, :1].expand(-1, 90), x),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views(name):
    x, y = VIEWS[name](torch.randn(70, 90, device=DEVICE))
    assert torch.equal(op.matrix_add(x, y), x + y)


def test_inputs_are_not_changed_and_gaps_are_not_read():
    buffer = torch.full((40, 200), float("nan"), device=DEVICE)
    x = buffer[:, 10:110]
    x.copy_(torch.randn(40, 100))
    before = buffer.clone()
    assert torch.equal(op.matrix_add(x, x), 2 * x)
    assert torch.equal(buffer.nan_to_num(7.0), before.nan_to_num(7.0))


@pytest.mark.gpu
def test_offsets_beyond_32_bits():
    x = torch.zeros(2**16 + 1, 2**15 + 1, device=DEVICE, dtype=torch.float16)
    x[-1, -1] = 3.0
    assert op.matrix_add(x, x)[-1, -1] == 6.0
    assert op.matrix_add(x[:, :-1], x[:, 1:])[-1, -1] == 3.0


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.zeros(4), torch.zeros(4)),
        (torch.zeros(2, 2, dtype=torch.int32), torch.zeros(2, 2, dtype=torch.int32)),
        (torch.zeros(2, 2), torch.zeros(2, 3)),
        (torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.float16)),
        (torch.zeros(2, 2), torch.zeros(2, 2, device="meta")),
        (torch.zeros(2, 2), 1.0),
    ],
)
def test_bad_input(x, y):
    with pytest.raises(ValueError, match="expected"):
        op.matrix_add(x, y)


def test_arithmetic():
    assert op.bytes_moved(rows=2, columns=3, element_bytes=4) == 72
    assert op.flops(rows=2, columns=3) == 6
