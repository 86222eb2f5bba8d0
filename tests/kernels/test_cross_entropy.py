"""`cross_entropy` and its gradient against fp64.

Tolerance. The loss, relative to itself or to the largest logit, whichever is larger: its logarithm
and difference are exact to a few u of them; 32 u. The gradient, relative to its largest element: as
in `softmax`, 32 u; a rounding of TF32 is 8192 u. Half precision: one rounding of the gradient.
"""

import pytest
import torch

from tests.kernels.nearness import DEVICE, DTYPES, ROUNDOFF, assert_near, load

op = load("cross_entropy")
U = ROUNDOFF[torch.float32]
GRADIENT = {dtype: 1.02 * ROUNDOFF[dtype] for dtype in DTYPES} | {torch.float32: 32 * U}


def check(x, target, *, ignore_index=-100, dtype=torch.float32):
    leaf = x.double().requires_grad_()
    want = op.naive_cross_entropy(leaf, target, ignore_index=ignore_index)
    (slope,) = torch.autograd.grad(want, leaf)
    value = float(want.detach())
    size = max(1.0, float(x[x.isfinite()].abs().max()), value)
    loss, gradient = op.cross_entropy(x, target, ignore_index=ignore_index)
    assert gradient is x
    assert loss.dtype == torch.float32
    assert abs(float(loss) - value) <= 32 * U * size
    assert_near(gradient, slope, GRADIENT[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 3, 1000, 2049, 50257])
def test_vocabularies(columns, dtype):
    x = torch.randn(4, columns, device=DEVICE).to(dtype)
    check(x, torch.tensor([0, columns - 1, columns // 2, 0], device=DEVICE), dtype=dtype)


def test_the_mean_is_over_kept_rows():
    x = torch.randn(6, 40, device=DEVICE)
    x[2] = float("nan")  # ignored rows may hold anything
    target = torch.tensor([3, -100, -100, 7, -100, 39], device=DEVICE)
    leaf = x[[0, 3, 5]].double().requires_grad_()
    want = op.naive_cross_entropy(leaf, target[[0, 3, 5]])
    (slope,) = torch.autograd.grad(want, leaf)
    loss, gradient = op.cross_entropy(x, target)
    assert_near(loss, want.detach(), 32 * U)
    assert_near(gradient[[0, 3, 5]], slope, GRADIENT[torch.float32])
    assert not gradient[[1, 2, 4]].any()


def test_a_column_can_be_the_ignored_one():
    target = torch.tensor([5, 0, 5, 1], device=DEVICE, dtype=torch.int32)
    check(torch.randn(4, 9, device=DEVICE), target, ignore_index=5)


def test_all_rows_ignored():
    x = torch.randn(3, 5, device=DEVICE)
    loss, gradient = op.cross_entropy(x, torch.full((3,), -100, device=DEVICE))
    assert loss.isnan()
    assert not gradient.any()


@pytest.mark.parametrize("shift", [1e4, -1e4])
def test_large_logits(shift):
    x = shift + 100 * torch.randn(4, 300, device=DEVICE)
    check(x, torch.tensor([0, 299, 5, 6], device=DEVICE))


def test_logits_that_are_forbidden():
    x = torch.randn(3, 5000, device=DEVICE)
    x[:, :4000] = -float("inf")
    check(x, torch.tensor([4000, 4999, 4500], device=DEVICE))


def test_constant_rows():
    x = torch.full((2, 100), 7.0, device=DEVICE)
    loss, _ = op.cross_entropy(x, torch.tensor([0, 99], device=DEVICE))
    assert abs(float(loss) - 4.605170185988092) <= 32 * U * 7


def test_views_are_written_in_place_and_gaps_are_left_alone():
    buffer = torch.full((2 * 60, 8), float("nan"), device=DEVICE)
    x = buffer[::2, 1:7].T
    x.copy_(torch.randn(6, 60))
    targets = torch.arange(12, device=DEVICE)[::2]
    check(x, targets)
    assert buffer[1::2].isnan().all()
    assert buffer[:, 0].isnan().all()


def test_a_target_out_of_range_is_never_read():
    x = torch.randn(2, 5, device=DEVICE)
    target = torch.tensor([1, 10**12], device=DEVICE)
    loss, _ = op.cross_entropy(x, target)
    assert loss.isnan()
    with pytest.raises(ValueError, match="expected 0 to 4 or -100"):
        op.check_targets(target, columns=5)
    op.check_targets(torch.tensor([0, 4, -100]), columns=5)


def test_no_second_tensor_as_wide_as_the_vocabulary(monkeypatch):
    made, empty = [], torch.empty

    def count(*size, **kwargs):
        made.append(empty(*size, **kwargs))
        return made[-1]

    x, target = torch.randn(4, 3000, device=DEVICE), torch.zeros(4, device=DEVICE).long()
    monkeypatch.setattr(torch, "empty", count)
    op.cross_entropy(x, target)
    assert sum(tensor.numel() for tensor in made) <= 4 + 2  # a loss of each row, two scalars


def test_a_gradient_beside_the_logits():
    x, target = torch.randn(5, 70, device=DEVICE), torch.tensor([0, 69, -100, 3, 4], device=DEVICE)
    kept, gradient = x.clone(), torch.full((70, 10), float("nan"), device=DEVICE)[:, ::2].T
    loss = op.cross_entropy_into(x, target, gradient)
    assert x.equal(kept)
    in_place, _ = op.cross_entropy(x, target)
    assert loss.equal(in_place)
    assert gradient.equal(x)


X, T = torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    "call",
    [
        lambda: op.cross_entropy(X[0], T),
        lambda: op.cross_entropy(X, X),
        lambda: op.cross_entropy(X, T[:1]),
        lambda: op.cross_entropy(X, T.to(torch.int16)),
        lambda: op.cross_entropy(X.double(), T),
        lambda: op.cross_entropy(X, T.to("meta")),
        lambda: op.cross_entropy(X[:, :0], T),
        lambda: op.cross_entropy(X[:1].expand(2, 3), T),
        lambda: op.cross_entropy_into(X, T, X[:, :2]),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match="expected"):
        call()


def test_arithmetic():
    assert op.bytes_moved(rows=2, columns=8, element_bytes=2) == 96
    assert op.flops(rows=2, columns=8) == 128
