"""Attention, forward: `softmax(scale · q kᵀ + mask) v` without its Tq × Tk matrix.

Takes: q, k, v of any strides; as many query heads as key heads, or a multiple (grouped queries).
Gives: the output and the log-sum-exp of each row of scores, which the backward pass wants. Does not
cover: heads wider than 128; dropout; biases; masks other than the causal one; sequences of several
lengths in one call (`paged_prefill` has them).

The idea: a program owns BLOCK_M queries, walks over the keys in tiles of BLOCK_N, and keeps three
things in registers: the running maximum of each row, the running sum of exp(score − maximum), and
the output, weighted so far. When the maximum grows, sum and output are rescaled by exp(old − new).
The output is divided by the sum once, at the end. Memory moves 4 · T · D elements a head and the
tensor cores do 4 · T² · D operations (half with the mask): an intensity of T/2 in fp16, so they
decide, and exp competes with them: it is computed as exp2, the hardware's own, of scores scaled by
log2(e).

The causal mask is aligned bottom-right: query i sees key j if j ≤ i + Tk − Tq, so that the last
query sees all keys, as in a decoder with a cache. Only tiles that the diagonal crosses, or the end
of the keys, are masked; tiles that no query of the program sees are not visited. A row that sees
nothing (Tq > Tk) is 0, its log-sum-exp −inf: its maximum stays −inf and is never subtracted.

Shapes: B batch, H query heads, G key heads, T queries, S keys, D width of a head.
"""

import torch
import triton
import triton.language as tl

from .checks import FLOATS, check_device, check_shape, check_tensor, require
from .launch import Launch, choose

LARGEST_D = 128
LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)

NARROW = {
    75: {"BLOCK_M": 64, "BLOCK_N": 32, "num_warps": 8, "num_stages": 2},
    80: {"BLOCK_M": 128, "BLOCK_N": 64, "num_warps": 8, "num_stages": 3},
    90: {"BLOCK_M": 128, "BLOCK_N": 128, "num_warps": 8, "num_stages": 3},
}
WIDE = {
    75: {"BLOCK_M": 32, "BLOCK_N": 32, "num_warps": 8, "num_stages": 2},
    80: {"BLOCK_M": 128, "BLOCK_N": 32, "num_warps": 8, "num_stages": 3},
    90: {"BLOCK_M": 128, "BLOCK_N": 64, "num_warps": 8, "num_stages": 3},
}
SINGLE = {
    75: {"BLOCK_M": 32, "BLOCK_N": 16, "num_warps": 8, "num_stages": 1},
    80: {"BLOCK_M": 32, "BLOCK_N": 32, "num_warps": 8, "num_stages": 2},
    90: {"BLOCK_M": 32, "BLOCK_N": 16, "num_warps": 8, "num_stages": 2},
}
"""For half precision with D up to 64, with D above, and for fp32."""


def naive_flash_attention(
    q_BHTD: torch.Tensor,
    k_BGSD: torch.Tensor,
    v_BGSD: torch.Tensor,
    *,
    scale: float,
    causal: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return output and log-sum-exp in fp64; autograd of the output is the oracle of gradients."""
    group = q_BHTD.shape[1] // k_BGSD.shape[1]
    k_BHSD, v_BHSD = (x.double().repeat_interleave(group, dim=1) for x in (k_BGSD, v_BGSD))
    s_BHTS = scale * (q_BHTD.double() @ k_BHSD.mT)
    T, S = s_BHTS.shape[-2:]
    seen_TS = torch.ones((T, S), dtype=torch.bool, device=q_BHTD.device)
    if causal:
        seen_TS = seen_TS.tril(diagonal=S - T)
    lse_BHT = s_BHTS.masked_fill(~seen_TS, -torch.inf).logsumexp(dim=-1)
    shift_BHT = lse_BHT.masked_fill(lse_BHT == -torch.inf, 0.0)
    p_BHTS = torch.exp(s_BHTS - shift_BHT[..., None]).masked_fill(~seen_TS, 0.0)
    return p_BHTS @ v_BHSD, lse_BHT


@triton.jit
def _tile(
    x_TD, t, T, stride_t, stride_d,
    ALL: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Load rows t of a matrix, 0 where there are none; with ALL there are, and none is asked."""
    d = tl.arange(0, BLOCK_D)
    x = x_TD + t[:, None] * stride_t + d[None, :] * stride_d
    if ALL and D == BLOCK_D:
        return tl.load(x)
    inside = d[None, :] < D
    if not ALL:
        inside = inside & (t[:, None] < T)
    return tl.load(x, mask=inside, other=0.0)


@triton.jit
def _walk(
    acc, top, total, q, k_SD, v_SD, begin, end, S, offset, m, scale2,
    stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL: tl.constexpr, MASKED: tl.constexpr,
    BLOCK_N: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Take the keys from `begin` to `end` into the running output, maximum and sum."""
    for start in range(begin, end, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N).to(tl.int64)
        k = _tile(k_SD, n, S, stride_ks, stride_kd, not MASKED, D, BLOCK_D)
        s = tl.dot(q, tl.trans(k), input_precision="ieee")
        if MASKED:
            seen = n[None, :] < S
            if CAUSAL:
                seen = seen & (n[None, :] <= m[:, None] + offset)
            s = tl.where(seen, s, -float("inf"))
        new_top = tl.maximum(top, tl.max(s, axis=1))
        shift = tl.where(new_top == -float("inf"), 0.0, new_top * scale2)
        p = tl.exp2(tl.fma(s, scale2, -shift[:, None]))
        shrink = tl.exp2(top * scale2 - shift)
        total = total * shrink + tl.sum(p, axis=1)
        v = _tile(v_SD, n, S, stride_vs, stride_vd, not MASKED, D, BLOCK_D)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = new_top
    return acc, top, total


@triton.jit
def _flash_attention_kernel(
    q_BHTD, k_BGSD, v_BGSD, o_BHTD, lse_BHT, H, GROUP, T, S, scale,
    stride_qb, stride_qh, stride_qt, stride_qd, stride_kb, stride_kh, stride_ks, stride_kd,
    stride_vb, stride_vh, stride_vs, stride_vd, stride_ob, stride_oh, stride_ot,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(T, BLOCK_M)
    # The last tiles of queries see the most keys: start with them, so that none is late.
    first = (tiles - 1 - tl.program_id(0) % tiles) * BLOCK_M
    head = (tl.program_id(0) // tiles).to(tl.int64)
    b, h = head // H, head % H
    m = first + tl.arange(0, BLOCK_M).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    k_SD = k_BGSD + b * stride_kb + h // GROUP * stride_kh
    v_SD = v_BGSD + b * stride_vb + h // GROUP * stride_vh
    q_TD = q_BHTD + b * stride_qb + h * stride_qh
    q = _tile(q_TD, m, T, stride_qt, stride_qd, False, D, BLOCK_D)
    # The sign goes to q, exactly: so the largest score is the largest product, and one
    # multiply-add takes a product to the exponent. A scale of 0 makes q 0, and can be any number.
    q = (q * tl.where(scale < 0, -1.0, tl.where(scale == 0, 0.0, 1.0))).to(q_BHTD.dtype.element_ty)
    scale2 = tl.where(scale == 0, 1.0, tl.abs(scale) * LOG2_E)

    offset = S - T
    whole = S  # keys that all queries of the tile see, then those that any sees
    end = S
    if CAUSAL:
        whole = min(S, max(0, first + offset + 1))
        end = min(S, max(0, first + BLOCK_M + offset))
    whole = whole // BLOCK_N * BLOCK_N
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc, top, total = _walk(
        acc, top, total, q, k_SD, v_SD, 0, whole, S, offset, m, scale2,
        stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL, False, BLOCK_N, D, BLOCK_D,
    )  # fmt: skip
    acc, top, total = _walk(
        acc, top, total, q, k_SD, v_SD, whole, end, S, offset, m, scale2,
        stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL, True, BLOCK_N, D, BLOCK_D,
    )  # fmt: skip
    acc = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    o_TD = o_BHTD + b * stride_ob + h * stride_oh
    inside = (m[:, None] < T) & (d[None, :] < D)
    tl.store(o_TD + m[:, None] * stride_ot + d[None, :], acc, mask=inside)
    lse = tl.where(total == 0.0, -float("inf"), (top * scale2 + tl.log2(total)) * LN_2)
    tl.store(lse_BHT + head * T + m, lse, mask=m < T)


def check_heads(q_BHTD: torch.Tensor, k_BGSD: torch.Tensor, v_BGSD: torch.Tensor) -> None:
    """Check that queries, keys and values fit each other.

    Raises:
        ValueError: rank, shape, dtype or device do not fit; the caller's fault.
    """
    check_tensor("q", q_BHTD, rank=4, dtypes=FLOATS)
    for name, tensor in (("k", k_BGSD), ("v", v_BGSD)):
        check_tensor(name, tensor, rank=4, dtypes=(q_BHTD.dtype,))
        check_device(name, tensor, q_BHTD)
    (B, H, _, D), (_, G, S, _) = q_BHTD.shape, k_BGSD.shape
    check_shape("k", k_BGSD, (B, G, S, D))
    check_shape("v", v_BGSD, (B, G, S, D))
    require(0 < D <= LARGEST_D, f"q: expected heads 1 to {LARGEST_D} wide, got {D}")
    require(G > 0 and H % G == 0, f"q: expected a multiple of {G} heads, got {H}")


def flash_attention(
    q_BHTD: torch.Tensor,
    k_BGSD: torch.Tensor,
    v_BGSD: torch.Tensor,
    *,
    scale: float | None = None,
    causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the output, like q and contiguous, and the log-sum-exp `lse_BHT` in fp32.

    Args:
        q_BHTD: fp16, bf16 or fp32, any strides.
        k_BGSD: the same dtype; H is a multiple of G, query head h reads key head h // (H / G).
        v_BGSD: like k.
        scale: of the scores, any number; 1/√D if None.
        causal: query i sees key j if j ≤ i + S − T.

    Raises:
        ValueError: rank, shape, dtype or device do not fit; the caller's fault.
    """
    check_heads(q_BHTD, k_BGSD, v_BGSD)
    (B, H, T, D), (G, S) = q_BHTD.shape, k_BGSD.shape[1:3]
    o_BHTD = torch.empty((B, H, T, D), dtype=q_BHTD.dtype, device=q_BHTD.device)
    lse_BHT = torch.empty((B, H, T), dtype=torch.float32, device=q_BHTD.device)
    if o_BHTD.numel():
        launch: Launch = choose(WIDE if D > 64 else NARROW)
        if q_BHTD.dtype == torch.float32:
            launch = choose(SINGLE)
        _flash_attention_kernel[(triton.cdiv(T, launch["BLOCK_M"]) * B * H,)](
            *(q_BHTD, k_BGSD, v_BGSD, o_BHTD, lse_BHT, H, H // G, T, S),
            D**-0.5 if scale is None else float(scale),
            *(*q_BHTD.stride(), *k_BGSD.stride(), *v_BGSD.stride(), *o_BHTD.stride()[:3]),
            CAUSAL=causal,
            D=D,
            BLOCK_D=max(16, triton.next_power_of_2(D)),
            **launch,
        )
    return o_BHTD, lse_BHT


def bytes_moved(*, B: int, H: int, G: int, T: int, S: int, D: int, element_bytes: int) -> int:
    """Return the bytes that must cross device memory: q and o, k and v, the log-sum-exp."""
    return B * D * element_bytes * 2 * (H * T + G * S) + 4 * B * H * T


def flops(*, B: int, H: int, T: int, S: int, D: int, causal: bool) -> int:
    """Return the operations of the two products, over the scores that the mask leaves."""
    scores = T * S
    if causal:
        scores = sum(min(S, max(0, i + 1 + S - T)) for i in range(T))
    return 4 * B * H * D * scores
