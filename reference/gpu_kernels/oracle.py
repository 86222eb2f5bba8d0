"""What is right, slowly and obviously, in float64 and rounded once.

Takes: inputs of a case. Gives: expected values. Does not cover: errors, speed, memory.

Gradients of norms are the written-out formulas of the handout, those of attention autograd's own;
tests hold both against autograd of torch's operators.
"""

import math

import torch

Tensor = torch.Tensor
Pair = tuple[Tensor, Tensor]
Triple = tuple[Tensor, Tensor, Tensor]


def matrix_add(x_MN: Tensor, y_MN: Tensor) -> Tensor:
    """Return the sum; rounding it from float64 gives what an addition in float32 rounds to."""
    return (x_MN.double() + y_MN.double()).to(x_MN.dtype)


def softmax(x_MN: Tensor) -> Tensor:
    """Return the softmax of each row; a row of nothing but −inf is NaN."""
    x = x_MN.double()
    weights = torch.exp(x - x.amax(dim=1, keepdim=True))
    return (weights / weights.sum(dim=1, keepdim=True)).to(x_MN.dtype)


def rmsnorm(x_MH: Tensor, w_H: Tensor, eps: float) -> Pair:
    """Return the normalised rows and rstd."""
    x = x_MH.double()
    rstd = 1 / torch.sqrt(x.square().mean(dim=1) + eps)
    return (x * rstd[:, None] * w_H.double()).to(x_MH.dtype), rstd.float()


def rmsnorm_backward(dy_MH: Tensor, x_MH: Tensor, w_H: Tensor, rstd_M: Tensor) -> Pair:
    """Return dx and dw."""
    dy, x, rstd = dy_MH.double(), x_MH.double(), rstd_M.double()[:, None]
    normal, g = x * rstd, dy * w_H.double()
    dx = rstd * (g - normal * (g * normal).mean(dim=1, keepdim=True))
    return dx.to(x_MH.dtype), (dy * normal).sum(dim=0).to(w_H.dtype)


def layernorm(x_MH: Tensor, w_H: Tensor, b_H: Tensor, eps: float) -> Triple:
    """Return the normalised rows, mean and rstd."""
    x = x_MH.double()
    mean = x.mean(dim=1)
    centred = x - mean[:, None]
    rstd = 1 / torch.sqrt(centred.square().mean(dim=1) + eps)
    y = centred * rstd[:, None] * w_H.double() + b_H.double()
    return y.to(x_MH.dtype), mean.float(), rstd.float()


def layernorm_backward(
    dy_MH: Tensor, x_MH: Tensor, w_H: Tensor, mean_M: Tensor, rstd_M: Tensor
) -> Triple:
    """Return dx, dw and db."""
    dy, x, rstd = dy_MH.double(), x_MH.double(), rstd_M.double()[:, None]
    normal, g = (x - mean_M.double()[:, None]) * rstd, dy * w_H.double()
    projection = normal * (g * normal).mean(dim=1, keepdim=True)
    dx = rstd * (g - g.mean(dim=1, keepdim=True) - projection)
    sums = ((dy * normal).sum(dim=0).to(w_H.dtype), dy.sum(dim=0).to(w_H.dtype))
    return dx.to(x_MH.dtype), *sums


def cross_entropy(x_MV: Tensor, target_M: Tensor, ignore_index: int) -> Pair:
    """Return the mean loss and its gradient, one row at a time."""
    kept = [m for m in range(x_MV.shape[0]) if int(target_M[m]) != ignore_index]
    loss = 0.0 if kept else math.nan
    gradient = torch.zeros(x_MV.shape, dtype=torch.float64)
    for m in kept:
        row, label = x_MV[m].double(), int(target_M[m])
        lse = torch.logsumexp(row, dim=0)
        loss += float(lse - row[label]) / len(kept)
        gradient[m] = torch.exp(row - lse) / len(kept)
        gradient[m, label] -= 1 / len(kept)
    return torch.tensor(loss, dtype=torch.float32), gradient.to(x_MV.dtype)


def matmul(a_MK: Tensor, b_KN: Tensor, bias_N: Tensor | None, activation: str) -> Tensor:
    """Return the product with its epilogue, in the dtype of a."""
    return exact_product(a_MK, b_KN, bias_N, activation).to(a_MK.dtype)


def exact_product(a_MK: Tensor, b_KN: Tensor, bias_N: Tensor | None, activation: str) -> Tensor:
    """Return the product with its epilogue in float64, not rounded."""
    out = a_MK.double() @ b_KN.double()
    if bias_N is not None:
        out = out + bias_N.double()
    if activation == "gelu":
        out = out * (1 + torch.erf(out / math.sqrt(2))) / 2
    elif activation == "gelu_tanh":
        out = out * (1 + torch.tanh(math.sqrt(2 / math.pi) * (out + 0.044715 * out**3))) / 2
    return out


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool) -> Pair:
    """Return output and log-sum-exp in float64, one head at a time; autograd goes through it."""
    (rows, heads, count, _), (groups, stored) = q.shape, k.shape[1:3]
    outputs, sums = [], []
    for b in range(rows):
        for h in range(heads):
            group = h // (heads // groups)
            scores = scale * (q[b, h].double() @ k[b, group].double().T)
            if causal:
                ones = torch.ones(count, stored, dtype=torch.bool)
                scores = scores.masked_fill(~ones.tril(stored - count), -math.inf)
            sees = scores.amax(dim=1) > -math.inf
            weights = torch.zeros_like(scores)
            weights[sees] = torch.softmax(scores[sees], dim=1)
            outputs.append(weights @ v[b, group].double())
            sums.append(torch.logsumexp(scores, dim=1))
    out = torch.stack(outputs).reshape(rows, heads, count, -1)
    return out, torch.stack(sums).reshape(rows, heads, count)


def flash_attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None, causal: bool) -> Pair:
    """Return the output in the dtype of q, and the log-sum-exp."""
    out, lse = attention(q, k, v, _scale(q, scale), causal)
    return out.to(q.dtype), lse.float()


def flash_attention_backward(do: Tensor, qkv: Triple, scale: float | None, causal: bool) -> Triple:
    """Return dq, dk and dv."""
    leaves = [x.double().requires_grad_() for x in qkv]
    out, _ = attention(*leaves, _scale(do, scale), causal)
    dq, dk, dv = torch.autograd.grad(out, leaves, do.double())
    q, k, v = qkv
    return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)


def _scale(q: Tensor, scale: float | None) -> float:
    return 1 / math.sqrt(q.shape[-1]) if scale is None else scale
