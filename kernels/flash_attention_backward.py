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
from .flash_attention import LOG2_E, _tile, check_heads, naive_flash_attention
from .launch import Launch, choose

NARROW = {
    75: {"OWN": 32, "WALK_M": 32, "WALK_N": 32, "num_warps": 8, "num_stages": 1},
    80: {"OWN": 64, "WALK_M": 32, "WALK_N": 32, "num_warps": 4, "num_stages": 2},
    90: {"OWN": 128, "WALK_M": 64, "WALK_N": 64, "num_warps": 8, "num_stages": 3},
}
WIDE = {
    75: {"OWN": 16, "WALK_M": 16, "WALK_N": 16, "num_warps": 8, "num_stages": 1},
    80: {"OWN": 64, "WALK_M": 32, "WALK_N": 32, "num_warps": 8, "num_stages": 2},
    90: {"OWN": 128, "WALK_M": 32, "WALK_N": 64, "num_warps": 8, "num_stages": 2},
}
SINGLE = {
    75: {"OWN": 16, "WALK_M": 16, "WALK_N": 16, "num_warps": 8, "num_stages": 1},
    80: {"OWN": 16, "WALK_M": 16, "WALK_N": 16, "num_warps": 8, "num_stages": 1},
    90: {"OWN": 16, "WALK_M": 16, "WALK_N": 16, "num_warps": 8, "num_stages": 1},
}
"""For half precision with D up to 64, with D above, and for fp32: rows that a program owns, and the
queries (for dk and dv) or keys (for dq) of a tile that it walks over. Two sums in registers leave
room for fewer of them than one."""
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
def _store_tile(x_TD, value, t, T, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Store rows t of a contiguous matrix."""
    d = tl.arange(0, BLOCK_D)
    tl.store(x_TD + t[:, None] * D + d[None, :], value, mask=(t[:, None] < T) & (d[None, :] < D))


@triton.jit
def _slopes(x, y, z, u, lse2, delta, seen, scale2, MASKED: tl.constexpr):
    """Return p and ds, the gradient of the scaled scores, of a tile: from q, k, do, v.

    From k, q, v, do, with lse and delta along the other axis, both come transposed: so what the
    next product wants as its left side is in the registers that this one leaves it in.
    """
    p = tl.exp2(tl.fma(tl.dot(x, tl.trans(y), input_precision="ieee"), scale2, -lse2))
    if MASKED:
        p = tl.where(seen, p, 0.0)
    return p, p * (tl.dot(z, tl.trans(u), input_precision="ieee") - delta)


@triton.jit
def _walk_queries(
    dk, dv, k, v, n, q_TD, do_TD, lse_T, delta_T, begin, end, T, offset, scale2, stride_t, stride_d,
    MASKED: tl.constexpr, BLOCK_M: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Add what the queries from `begin` to `end` give to dk and dv.

    Behind the last query q, do, lse and delta are 0: p is 1 there, ds is 0, and both add 0.
    """
    for first in range(begin, end, BLOCK_M):
        m = first + tl.arange(0, BLOCK_M).to(tl.int64)
        q = _tile(q_TD, m, T, stride_t, stride_d, False, D, BLOCK_D)
        do = _tile(do_TD, m, T, D, 1, False, D, BLOCK_D)
        lse2 = tl.load(lse_T + m, mask=m < T, other=0.0) * LOG2_E
        delta = tl.load(delta_T + m, mask=m < T, other=0.0)
        seen = n[:, None] <= m[None, :] + offset
        p, ds = _slopes(k, q, v, do, lse2[None, :], delta[None, :], seen, scale2, MASKED)
        dv = tl.dot(p.to(do.dtype), do, dv, input_precision="ieee")
        dk = tl.dot(ds.to(q.dtype), q, dk, input_precision="ieee")
    return dk, dv


@triton.jit
def _flash_attention_backward_kernel(
    q_BHTD, k_BGSD, v_BGSD, do_BHTD, lse_BHT, delta_BHT, dk_BGSD, dv_BGSD,
    G, GROUP, T, S, scale,
    stride_qb, stride_qh, stride_qt, stride_qd, stride_kb, stride_kh, stride_ks, stride_kd,
    stride_vb, stride_vh, stride_vs, stride_vd,
    CAUSAL: tl.constexpr, OWN: tl.constexpr, WALK: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write dk and dv of OWN keys, summed over all queries of all heads that read them."""
    tiles = tl.cdiv(S, OWN)
    first = tl.program_id(0) % tiles * OWN
    head = (tl.program_id(0) // tiles).to(tl.int64)
    b, g = head // G, head % G
    n = first + tl.arange(0, OWN).to(tl.int64)
    k_SD, v_SD = k_BGSD + b * stride_kb + g * stride_kh, v_BGSD + b * stride_vb + g * stride_vh
    k = _tile(k_SD, n, S, stride_ks, stride_kd, False, D, BLOCK_D)
    v = _tile(v_SD, n, S, stride_vs, stride_vd, False, D, BLOCK_D)
    dk = tl.zeros((OWN, BLOCK_D), dtype=tl.float32)
    dv = tl.zeros((OWN, BLOCK_D), dtype=tl.float32)
    offset = S - T
    begin, whole = 0, 0  # queries that see any of the keys, then those that see all
    if CAUSAL:
        begin = max(0, first - offset) // WALK * WALK
        whole = tl.cdiv(max(0, first + OWN - 1 - offset), WALK) * WALK
    for h in range(g * GROUP, (g + 1) * GROUP):
        row = (b * G * GROUP + h) * T
        q_TD, do_TD = q_BHTD + b * stride_qb + h * stride_qh, do_BHTD + row * D
        dk, dv = _walk_queries(
            dk, dv, k, v, n, q_TD, do_TD, lse_BHT + row, delta_BHT + row, begin, min(T, whole),
            T, offset, scale * LOG2_E, stride_qt, stride_qd, True, WALK, D, BLOCK_D,
        )  # fmt: skip
        dk, dv = _walk_queries(
            dk, dv, k, v, n, q_TD, do_TD, lse_BHT + row, delta_BHT + row, whole, T,
            T, offset, scale * LOG2_E, stride_qt, stride_qd, False, WALK, D, BLOCK_D,
        )  # fmt: skip
    _store_tile(dk_BGSD + head * S * D, dk * scale, n, S, D, BLOCK_D)
    _store_tile(dv_BGSD + head * S * D, dv, n, S, D, BLOCK_D)


@triton.jit
def _walk_keys(
    dq, q, do, lse2, delta, m, k_SD, v_SD, begin, end, S, offset, scale2,
    stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL: tl.constexpr, MASKED: tl.constexpr,
    BLOCK_N: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Add what the keys from `begin` to `end` give to dq."""
    for first in range(begin, end, BLOCK_N):
        n = first + tl.arange(0, BLOCK_N).to(tl.int64)
        k = _tile(k_SD, n, S, stride_ks, stride_kd, not MASKED, D, BLOCK_D)
        v = _tile(v_SD, n, S, stride_vs, stride_vd, not MASKED, D, BLOCK_D)
        seen = n[None, :] < S
        if CAUSAL:
            seen = seen & (n[None, :] <= m[:, None] + offset)
        _, ds = _slopes(q, k, do, v, lse2[:, None], delta[:, None], seen, scale2, MASKED)
        dq = tl.dot(ds.to(k.dtype), k, dq, input_precision="ieee")
    return dq


@triton.jit
def _flash_attention_backward_query_kernel(
    q_BHTD, k_BGSD, v_BGSD, do_BHTD, lse_BHT, delta_BHT, dq_BHTD, H, GROUP, T, S, scale,
    stride_qb, stride_qh, stride_qt, stride_qd, stride_kb, stride_kh, stride_ks, stride_kd,
    stride_vb, stride_vh, stride_vs, stride_vd,
    CAUSAL: tl.constexpr, OWN: tl.constexpr, WALK: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write dq of OWN queries, summed over all keys."""
    tiles = tl.cdiv(T, OWN)
    first = (tiles - 1 - tl.program_id(0) % tiles) * OWN
    head = (tl.program_id(0) // tiles).to(tl.int64)
    b, h, row = head // H, head % H, head * T
    m = first + tl.arange(0, OWN).to(tl.int64)
    q = _tile(q_BHTD + b * stride_qb + h * stride_qh, m, T, stride_qt, stride_qd, False, D, BLOCK_D)
    do = _tile(do_BHTD + row * D, m, T, D, 1, False, D, BLOCK_D)
    lse2 = tl.load(lse_BHT + row + m, mask=m < T, other=0.0) * LOG2_E
    delta = tl.load(delta_BHT + row + m, mask=m < T, other=0.0)
    k_SD = k_BGSD + b * stride_kb + h // GROUP * stride_kh
    v_SD = v_BGSD + b * stride_vb + h // GROUP * stride_vh
    dq = tl.zeros((OWN, BLOCK_D), dtype=tl.float32)
    offset = S - T
    whole, end = S, S  # as in the forward pass
    if CAUSAL:
        whole = min(S, max(0, first + offset + 1))
        end = min(S, max(0, first + OWN + offset))
    whole = whole // WALK * WALK
    dq = _walk_keys(
        dq, q, do, lse2, delta, m, k_SD, v_SD, 0, whole, S, offset, scale * LOG2_E,
        stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL, False, WALK, D, BLOCK_D,
    )  # fmt: skip
    dq = _walk_keys(
        dq, q, do, lse2, delta, m, k_SD, v_SD, whole, end, S, offset, scale * LOG2_E,
        stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL, True, WALK, D, BLOCK_D,
    )  # fmt: skip
    _store_tile(dq_BHTD + row * D, dq * scale, m, T, D, BLOCK_D)


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
    constants = {key: launch[key] for key in ("OWN", "num_warps", "num_stages")}
    constants |= {"CAUSAL": causal, "D": D, "BLOCK_D": width}
    strides = (*q.stride(), *k.stride(), *v.stride())
    sizes = (H // G, T, S, D**-0.5 if scale is None else float(scale))
    if k.numel():  # without queries the sums are empty, not absent: the kernels write 0
        _flash_attention_backward_kernel[(triton.cdiv(S, launch["OWN"]) * B * G,)](
            q, k, v, do, lse, delta, dk, dv, G, *sizes, *strides, WALK=launch["WALK_M"], **constants
        )
    if q.numel():
        _flash_attention_backward_query_kernel[(triton.cdiv(T, launch["OWN"]) * B * H,)](
            q, k, v, do, lse, delta, dq, H, *sizes, *strides, WALK=launch["WALK_N"], **constants
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
