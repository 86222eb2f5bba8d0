"""One step of AdamW in one pass: decoupled decay, fp32 state, perhaps a low-precision copy.

Takes: weights and both moments in fp32, a gradient of any float, the number of the step. Gives:
nothing new: weights, moments, and the copy if there is one, are changed in place. Does not cover:
several tensors in one launch; clipping and unscaling (see the gradient scaler of the course);
AMSGrad.

The idea: as torch operations the step is a dozen kernels that read and write the same tensors over
and over. In one pass each number is read once and written once: weight, gradient, two moments in,
weight, two moments out, 28 bytes a parameter in fp32 for 15 operations, an intensity near 1/2.
Training in mixed precision wants the weights in bf16 too; they are rounded from the fp32 register
on the way out, for 2 bytes more.

    m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
    w ← w − lr · λ · w − lr · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)

The decay acts on the weight and never enters the moments. The corrections are of the host, in fp64:
1 − β₂ᵗ loses its digits in fp32 at the first steps.

Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2.

Shapes: N parameters, in any number of dimensions.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from .checks import FLOATS, check_device, check_shape, check_tensor, require
from .launch import choose

LAUNCHES = {
    75: {"BLOCK_N": 512, "num_warps": 4},
    80: {"BLOCK_N": 1024, "num_warps": 4},
    90: {"BLOCK_N": 1024, "num_warps": 4},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The constants of the step.

    Attributes:
        lr: learning rate, at least 0.
        beta1: decay of the first moment, in [0, 1).
        beta2: decay of the second moment, in [0, 1).
        eps: added to the root, at least 0.
        weight_decay: λ, at least 0.
    """

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01


def naive_adamw(
    w_N: torch.Tensor, g_N: torch.Tensor, moments: tuple[torch.Tensor, torch.Tensor],
    *, step: int, rule: Rule,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return the new weight and moments in fp64; changes nothing."""
    w_N, g_N, m_N, v_N = (tensor.double() for tensor in (w_N, g_N, *moments))
    m_N = rule.beta1 * m_N + (1 - rule.beta1) * g_N
    v_N = rule.beta2 * v_N + (1 - rule.beta2) * g_N.square()
    root_N = (v_N / (1 - rule.beta2**step)).sqrt() + rule.eps
    slope_N = m_N / (1 - rule.beta1**step) / root_N
    return w_N - rule.lr * rule.weight_decay * w_N - rule.lr * slope_N, m_N, v_N


@triton.jit
def _adamw_kernel(
    w_N, g_N, m_N, v_N, copy_N, N, keep, rate, beta1, fresh1, beta2, fresh2, root2, eps,
    HAS_COPY: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = n < N
    g = tl.load(g_N + n, mask=inside).to(tl.float32)
    m = beta1 * tl.load(m_N + n, mask=inside) + fresh1 * g
    v = beta2 * tl.load(v_N + n, mask=inside) + fresh2 * g * g
    w = keep * tl.load(w_N + n, mask=inside) - rate * m / (tl.sqrt_rn(v) * root2 + eps)
    tl.store(m_N + n, m, mask=inside)
    tl.store(v_N + n, v, mask=inside)
    tl.store(w_N + n, w, mask=inside)
    if HAS_COPY:
        tl.store(copy_N + n, w, mask=inside)


def _is_dense(tensor: torch.Tensor) -> bool:
    """Return whether a tensor fills one stretch of memory, whatever the order of its axes."""
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    return tensor.permute(order).is_contiguous()


def adamw(
    w: torch.Tensor,
    g: torch.Tensor,
    moments: tuple[torch.Tensor, torch.Tensor],
    *,
    step: int,
    rule: Rule,
    copy: torch.Tensor | None = None,
) -> None:
    """Change weights and moments, and write the weights to a copy, by one step.

    Args:
        w: weights, fp32, of any shape, in one stretch of memory.
        g: gradient, fp16, bf16 or fp32, laid out as w.
        moments: first and second, fp32, laid out as w.
        step: number of this step, from 1.
        rule: the constants.
        copy: fp16 or bf16, laid out as w, gets the new weights; None: there is none.

    Raises:
        ValueError: dtype, shape, strides or device do not fit, or a constant is out of its range;
            the caller's fault. Nothing has been changed.
    """
    check_tensor("w", w, rank=w.dim(), dtypes=(torch.float32,))
    require(_is_dense(w), f"w: expected one stretch of memory, got strides {w.stride()}")
    others = [("g", g, FLOATS), *(("moments", x, (torch.float32,)) for x in moments)]
    others += [("copy", copy, (torch.float16, torch.bfloat16))] if copy is not None else []
    for name, tensor, dtypes in others:
        check_tensor(name, tensor, rank=w.dim(), dtypes=dtypes)
        check_shape(name, tensor, tuple(w.shape))
        check_device(name, tensor, w)
        same = tensor.stride() == w.stride()
        require(same, f"{name}: expected strides {w.stride()}, got {tensor.stride()}")
    require(step >= 1, f"step: expected at least 1, got {step}")
    betas = (rule.beta1, rule.beta2)
    require(all(0 <= beta < 1 for beta in betas), f"beta: expected 0 to 1, got {betas}")
    least = min(rule.lr, rule.eps, rule.weight_decay)
    require(least >= 0, f"rule: expected nothing negative, got {rule}")
    if not w.numel():
        return
    launch = choose(LAUNCHES)
    _adamw_kernel[(triton.cdiv(w.numel(), launch["BLOCK_N"]),)](
        *(w, g, *moments, w if copy is None else copy, w.numel()),
        *(1 - rule.lr * rule.weight_decay, rule.lr / (1 - rule.beta1**step)),
        *(rule.beta1, 1 - rule.beta1, rule.beta2, 1 - rule.beta2),
        *((1 - rule.beta2**step) ** -0.5, rule.eps),
        HAS_COPY=copy is not None,
        **launch,
    )


def bytes_moved(*, parameters: int, gradient_bytes: int = 4, copy_bytes: int = 0) -> int:
    """Return the bytes that must cross device memory: three tensors in and out, gradient, copy."""
    return (24 + gradient_bytes + copy_bytes) * parameters


def flops(*, parameters: int) -> int:
    """Return the operations."""
    return 15 * parameters
