"""`adamw` against its formula in fp64, and over many steps against torch.

Tolerance, relative to the largest element: a dozen roundings of fp32, 16 u; over 10 steps, 10 times
as many. A state in half precision would be off by 2^-11 after the first step.
"""

import pytest
import torch

from tests.kernels.nearness import DEVICE, DTYPES, ROUNDOFF, assert_near, load

op = load("adamw")
U = ROUNDOFF[torch.float32]
RULE = op.Rule(lr=0.1, weight_decay=0.3)


def draw(*shape, dtype=torch.float32):
    w, g, m = torch.randn(3, *shape, device=DEVICE)
    return w, g.to(dtype), (m, torch.rand(shape, device=DEVICE))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (), (3,), (1000,), (65, 33), (2, 3, 5)])
def test_one_step(shape, dtype):
    w, g, moments = draw(*shape, dtype=dtype)
    want = op.naive_adamw(w, g, moments, step=3, rule=RULE)
    op.adamw(w, g, moments, step=3, rule=RULE)
    for ours, theirs in zip((w, *moments), want, strict=True):
        assert_near(ours, theirs, 16 * U)


def test_as_torch_over_many_steps():
    w, _, _ = draw(50)
    moments = (torch.zeros_like(w), torch.zeros_like(w))
    theirs = w.double().clone().requires_grad_()
    optimizer = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.3)
    for step in range(1, 11):
        g = torch.randn(50, device=DEVICE)
        theirs.grad = g.double()
        optimizer.step()
        op.adamw(w, g, moments, step=step, rule=RULE)
    assert_near(w, theirs.detach(), 10 * 16 * U)


@pytest.mark.parametrize("scale", [0.0, 1e-15, 1e15])
def test_scales_of_the_gradient(scale):
    w, g, _ = draw(40)
    moments = (torch.zeros_like(w), torch.zeros_like(w))
    want, _, _ = op.naive_adamw(w, scale * g, moments, step=1, rule=RULE)
    op.adamw(w, scale * g, moments, step=1, rule=RULE)
    assert_near(w, want, 16 * U)


def test_updates_below_a_step_of_half_precision_add_up():
    """Each step moves a weight of 1 by 1e-4; in fp16 around 1 the next number is 1e-3 away."""
    w, g = torch.ones(4, device=DEVICE), torch.ones(4, device=DEVICE).half()
    moments = (torch.zeros_like(w), torch.zeros_like(w))
    copy = torch.zeros_like(g)
    for step in range(1, 21):
        rule = op.Rule(lr=1e-4, weight_decay=0.0)
        op.adamw(w, g, moments, step=step, rule=rule, copy=copy)
    assert_near(w, torch.full((4,), 0.998), 1e-6)
    assert_near(copy, w, ROUNDOFF[torch.float16])


def test_transposed_tensors():
    w, g, moments = draw(7, 40)
    w, g, moments = w.T, g.T, (moments[0].T, moments[1].T)
    want, _, _ = op.naive_adamw(w, g, moments, step=1, rule=RULE)
    op.adamw(w, g, moments, step=1, rule=RULE)
    assert_near(w, want, 16 * U)


def test_nothing():
    w, g, moments = draw(0, 3)
    op.adamw(w, g, moments, step=1, rule=RULE)


W = torch.zeros(4, 6)


@pytest.mark.parametrize(
    "changes",
    [
        {"w": W.half()},
        {"w": W[:, ::2]},
        {"g": W.T},
        {"g": W[:3]},
        {"g": W.long()},
        {"g": torch.zeros(6, 4).T},
        {"g": W.to("meta")},
        {"moments": (W, W.half())},
        {"moments": (W, W[0])},
        {"copy": W},
        {"step": 0},
        {"rule": op.Rule(beta1=1.0)},
        {"rule": op.Rule(lr=-1.0)},
    ],
)
def test_bad_input(changes):
    usual = {"w": W, "g": W, "moments": (W, W), "step": 1, "rule": RULE}
    args = usual | changes
    with pytest.raises(ValueError, match="expected"):
        op.adamw(args.pop("w"), args.pop("g"), args.pop("moments"), **args)


def test_arithmetic():
    assert op.bytes_moved(parameters=10) == 280
    assert op.bytes_moved(parameters=10, gradient_bytes=2, copy_bytes=2) == 280
    assert op.flops(parameters=10) == 150
