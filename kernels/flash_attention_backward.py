"""Attention, backward: dq, dk and dv from what the forward pass kept, without a T × S matrix.

Takes: q, k, v, the output and its log-sum-exp as `flash_attention` gave them, and the gradient of
the output. Gives: dq, dk, dv. Does not cover: what the forward pass does not; a gradient of the
log-sum-exp.

The idea: with the log-sum-exp a tile of probabilities is one product away, p = exp(scale·q kᵀ −
lse), so it is computed again instead of stored. With dp = do vᵀ, the gradient of a row's softmax is
ds = p · (dp − delta), where delta = Σ p·dp along the row = Σ do·o, one number per query, computed
first by a kernel of its own. Then

    dv = pᵀ do,    dk = scale · dsᵀ q,    dq = scale · ds k.

dk and dv are sums over queries, dq is one over keys: two kernels, each with its sum in fp32
registers, each computing p again. One kernel for all three would have to add to dq in memory, by
atomics whose order, and so whose rounding, changes from run to run. Where several query heads share
a key head, its program walks over all of them: no sum is left for later. The scale is applied once,
at the end.

10 · T · S · D operations if all is computed once, 14 as it is here, for 8 tensors moved: the tensor
cores decide. A row that saw nothing has a log-sum-exp of −inf and no unmasked score: its p is 0.

Shapes: B batch, H query heads, G key heads, T queries, S keys, D width of a head.
"""

import torch
import triton
import triton.language as tl

from .checks import check_device, check_like, check_shape, check_tensor
from .flash_attention import LOG2_E, check_heads, naive_flash_attention
from .launch import Launch, choose

NARROW = {
    75: {"BLOCK_M": 32, "BLOCK_N": 32, "num_warps": 8, "num_stages": 1},
    80: {"BLOCK_M": 32, "BLOCK_N": 32, "num_warps": 4, "num_stages": 2},
    90: {"BLOCK_M": 64, "BLOCK_N": 64, "num_warps": 8, "num_stages": 2},
}
WIDE = {
    75: {"BLOCK_M": 16, "BLOCK_N": 16, "num_warps": 8, "num_stages": 1},
    80: {"BLOCK_M": 32, "BLOCK_N": 64, "num_warps": 8, "num_stages": 2},
    90: {"BLOCK_M": 32, "BLOCK_N": 64, "num_warps": 8, "num_stages": 2},
}
SINGLE = {
    75: {"BLOCK_M": 16, "BLOCK_N": 16, "num_warps": 8, "num_stages": 1},
    80: {"BLOCK_M": 16, "BLOCK_N": 16, "num_warps": 8, "num_stages": 1},
    90: {"BLOCK_M": 16, "BLOCK_N": 16, "num_warps": 8, "num_stages": 1},
}
"""For half precision with D up to 64, with D above, and for fp32."""
DELTA_ROWS = 32


def naive_flash_attention_backward(
    do_BHTD: torch.Tensor,
    q_BHTD: torch.Tensor,
    k_BGSD: torch.Tensor,
    v_BGSD: torch.Tensor,
    *,
    scale: float,
    causal: bool,
) -> tuple[torch.Tensor, ...]:
    """Return dq, dk, dv by autograd of the forward pass's oracle, in fp64."""
    leaves = [x.detach().double().requires_grad_() for x in (q_BHTD, k_BGSD, v_BGSD)]
    o_BHTD, _ = naive_flash_attention(*leaves, scale=scale, causal=causal)
    return torch.autograd.grad(o_BHTD, leaves, do_BHTD.double())


@triton.jit
def _delta_kernel(o_RD, do_RD, delta_R, R, D, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr):
    """Write the sum of o · do of each row."""
    r = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    d = tl.arange(0, BLOCK_D)
    inside = (r[:, None] < R) & (d[None, :] < D)
    o = tl.load(o_RD + r[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float32)
    do = tl.load(do_RD + r[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float32)
    tl.store(delta_R + r, tl.sum(o * do, axis=1), mask=r < R)


@triton.jit
def _tile(x_TD, first, T, D, stride_t, stride_d, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr):
    """Load rows from `first` on, 0 where there are none."""
    t = first + tl.arange(0, BLOCK).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    inside = (t[:, None] < T) & (d[None, :] < D)
    return tl.load(x_TD + t[:, None] * stride_t + d[None, :] * stride_d, mask=inside, other=0.0)


@triton.jit
def _store_tile(x_TD, value, first, T, D, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr):
    """Store rows of a contiguous matrix from `first` on."""
    t = first + tl.arange(0, BLOCK).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    inside = (t[:, None] < T) & (d[None, :] < D)
    tl.store(x_TD + t[:, None] * D + d[None, :], value, mask=inside)


@triton.jit
def _slopes(
    q, k, v, do, lse_T, delta_T, first_m, first_n, T, S, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Return p and ds, the gradient of the scaled scores, of one tile."""
    m = first_m + tl.arange(0, BLOCK_M)
    n = first_n + tl.arange(0, BLOCK_N)
    lse = tl.load(lse_T + m, mask=m < T, other=0.0)
    delta = tl.load(delta_T + m, mask=m < T, other=0.0)
    seen = (m[:, None] < T) & (n[None, :] < S)
    if CAUSAL:
        seen = seen & (n[None, :] <= m[:, None] + (S - T))
    s = tl.dot(q, tl.trans(k), input_precision="ieee") * (scale * LOG2_E)
    p = tl.where(seen, tl.exp2(s - lse[:, None] * LOG2_E), 0.0)
    dp = tl.dot(do, tl.trans(v), input_precision="ieee")
    return p, p * (dp - delta[:, None])


@triton.jit
def _flash_attention_backward_kernel(
    q_BHTD, k_BGSD, v_BGSD, do_BHTD, lse_BHT, delta_BHT, dk_BGSD, dv_BGSD,
    G, GROUP, T, S, D, scale,
    stride_qb, stride_qh, stride_qt, stride_qd, stride_kb, stride_kh, stride_ks, stride_kd,
    stride_vb, stride_vh, stride_vs, stride_vd,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write dk and dv of BLOCK_N keys, summed over all queries of all heads that read them."""
    tiles = tl.cdiv(S, BLOCK_N)
    first_n = tl.program_id(0) % tiles * BLOCK_N
    head = (tl.program_id(0) // tiles).to(tl.int64)
    b, g = head // G, head % G
    k_SD, v_SD = k_BGSD + b * stride_kb + g * stride_kh, v_BGSD + b * stride_vb + g * stride_vh
    k = _tile(k_SD, first_n, S, D, stride_ks, stride_kd, BLOCK_N, BLOCK_D)
    v = _tile(v_SD, first_n, S, D, stride_vs, stride_vd, BLOCK_N, BLOCK_D)
    dk = tl.zeros((BLOCK_N, BLOCK_D), dtype=tl.float32)
    dv = tl.zeros((BLOCK_N, BLOCK_D), dtype=tl.float32)
    begin = 0
    if CAUSAL:  # queries before this one see none of the keys
        begin = max(0, first_n - (S - T)) // BLOCK_M * BLOCK_M
    for h in range(g * GROUP, (g + 1) * GROUP):
        row = (b * G * GROUP + h) * T
        for first_m in range(begin, T, BLOCK_M):
            q_TD = q_BHTD + b * stride_qb + h * stride_qh
            q = _tile(q_TD, first_m, T, D, stride_qt, stride_qd, BLOCK_M, BLOCK_D)
            do = _tile(do_BHTD + row * D, first_m, T, D, D, 1, BLOCK_M, BLOCK_D)
            p, ds = _slopes(
                q, k, v, do, lse_BHT + row, delta_BHT + row, first_m, first_n, T, S, scale,
                CAUSAL, BLOCK_M, BLOCK_N,
            )  # fmt: skip
            dv = tl.dot(tl.trans(p.to(do.dtype)), do, dv, input_precision="ieee")
            dk = tl.dot(tl.trans(ds.to(q.dtype)), q, dk, input_precision="ieee")
    _store_tile(dk_BGSD + head * S * D, dk * scale, first_n, S, D, BLOCK_N, BLOCK_D)
    _store_tile(dv_BGSD + head * S * D, dv, first_n, S, D, BLOCK_N, BLOCK_D)


@triton.jit
def _flash_attention_backward_query_kernel(
    q_BHTD, k_BGSD, v_BGSD, do_BHTD, lse_BHT, delta_BHT, dq_BHTD, H, GROUP, T, S, D, scale,
    stride_qb, stride_qh, stride_qt, stride_qd, stride_kb, stride_kh, stride_ks, stride_kd,
    stride_vb, stride_vh, stride_vs, stride_vd,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write dq of BLOCK_M queries, summed over all keys."""
    tiles = tl.cdiv(T, BLOCK_M)
    first_m = (tiles - 1 - tl.program_id(0) % tiles) * BLOCK_M
    head = (tl.program_id(0) // tiles).to(tl.int64)
    b, h = head // H, head % H
    row = head * T
    q_TD = q_BHTD + b * stride_qb + h * stride_qh
    q = _tile(q_TD, first_m, T, D, stride_qt, stride_qd, BLOCK_M, BLOCK_D)
    do = _tile(do_BHTD + row * D, first_m, T, D, D, 1, BLOCK_M, BLOCK_D)
    k_SD = k_BGSD + b * stride_kb + h // GROUP * stride_kh
    v_SD = v_BGSD + b * stride_vb + h // GROUP * stride_vh
    dq = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = S
    if CAUSAL:
        end = min(S, max(0, first_m + BLOCK_M + (S - T)))
    for first_n in range(0, end, BLOCK_N):
        k = _tile(k_SD, first_n, S, D, stride_ks, stride_kd, BLOCK_N, BLOCK_D)
        v = _tile(v_SD, first_n, S, D, stride_vs, stride_vd, BLOCK_N, BLOCK_D)
        _, ds = _slopes(
            q, k, v, do, lse_BHT + row, delta_BHT + row, first_m, first_n, T, S, scale,
            CAUSAL, BLOCK_M, BLOCK_N,
        )  # fmt: skip
        dq = tl.dot(ds.to(k.dtype), k, dq, input_precision="ieee")
    _store_tile(dq_BHTD + row * D, dq * scale, first_m, T, D, BLOCK_M, BLOCK_D)


def _check_results(
    q_BHTD: torch.Tensor, do_BHTD: torch.Tensor, o_BHTD: torch.Tensor, lse_BHT: torch.Tensor
) -> None:
    check_like("do", do_BHTD, q_BHTD)
    check_like("o", o_BHTD, q_BHTD)
    check_tensor("lse", lse_BHT, rank=3, dtypes=(torch.float32,))
    check_shape("lse", lse_BHT, tuple(q_BHTD.shape[:3]))
    check_device("lse", lse_BHT, q_BHTD)


def flash_attention_backward(
    do_BHTD: torch.Tensor,
    qkv: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    forward: tuple[torch.Tensor, torch.Tensor],
    *,
    scale: float | None = None,
    causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return dq, dk and dv, each like its tensor and contiguous.

    Args:
        do_BHTD: gradient of the output, like q, any strides.
        qkv: the arguments of the forward pass, any strides.
        forward: its results, output and log-sum-exp.
        scale: as in the forward pass.
        causal: as in the forward pass.

    Raises:
        ValueError: rank, shape, dtype or device do not fit; the caller's fault.
    """
    (q, k, v), (o, lse) = qkv, forward
    check_heads(q, k, v)
    _check_results(q, do_BHTD, o, lse)
    (B, H, T, D), (G, S) = q.shape, k.shape[1:3]
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
    o, do, lse = o.contiguous(), do_BHTD.contiguous(), lse.contiguous()
    delta = torch.empty_like(lse)
    width = max(16, triton.next_power_of_2(D))
    if lse.numel():
        _delta_kernel[(triton.cdiv(lse.numel(), DELTA_ROWS),)](
            o, do, delta, lse.numel(), D, BLOCK_R=DELTA_ROWS, BLOCK_D=width
        )
    launch: Launch = choose(WIDE if D > 64 else NARROW)
    if q.dtype == torch.float32:
        launch = choose(SINGLE)
    constants = {"CAUSAL": causal, "BLOCK_D": width, **launch}
    strides = (*q.stride(), *k.stride(), *v.stride())
    sizes = (H // G, T, S, D, D**-0.5 if scale is None else float(scale))
    if k.numel():  # without queries the sums are empty, not absent: the kernels write 0
        _flash_attention_backward_kernel[(triton.cdiv(S, launch["BLOCK_N"]) * B * G,)](
            q, k, v, do, lse, delta, dk, dv, G, *sizes, *strides, **constants
        )
    if q.numel():
        _flash_attention_backward_query_kernel[(triton.cdiv(T, launch["BLOCK_M"]) * B * H,)](
            q, k, v, do, lse, delta, dq, H, *sizes, *strides, **constants
        )
    return dq, dk, dv


def bytes_moved(*, B: int, H: int, G: int, T: int, S: int, D: int, element_bytes: int) -> int:
    """Return the bytes that must cross device memory: q, o, k, v, their gradients, the lse."""
    return 4 * B * D * element_bytes * (H * T + G * S) + 4 * B * H * T


def flops(*, B: int, H: int, T: int, S: int, D: int, causal: bool) -> int:
    """Return the operations of the five products, over the scores that the mask leaves."""
    scores = T * S
    if causal:
        scores = sum(min(S, max(0, i + 1 + S - T)) for i in range(T))
    return 10 * B * H * D * scores
