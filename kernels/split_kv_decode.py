"""Paged decode of long sequences in small batches: each is split, the parts merged.

Takes: what `paged_decode` takes, and how many parts. Gives: the same. Does not cover: several
queries per sequence; parts of different lengths in one sequence.

The idea: `paged_decode` has one program per sequence and key head. With one sequence and 8 key
heads, 8 of 132 multiprocessors work, and memory idles. Here each part of a sequence has a program
of its own, which writes its normalised output and its log-sum-exp. A second kernel merges them
exactly: with top = max lse_c, a part weighs exp(lse_c − top), and the output is the weighted mean.
(The mean of the parts is wrong: a part may hold all of the probability.) The merge moves C · (D +
1) numbers a head in fp32, against 2 · S · D for S tokens: nothing, while S is much longer than C.

An empty part has −inf and weighs 0; if all are empty, top is −inf and must not be subtracted.

Shapes: as in `paged_decode`; C parts of a sequence.
"""

import torch
import triton
import triton.language as tl

from .checks import check_shape, require
from .launch import Launch, choose
from .paged_decode import (
    LAUNCHES,
    LN_2,
    LOG2_E,
    SINGLE,
    _attend_pages,
    check_paged,
    naive_paged_decode,
)

PROGRAMS = {75: {"C": 80}, 80: {"C": 216}, 90: {"C": 528}}
"""Programs that fill the device: two for each multiprocessor of a T4, an A100, four of an H100."""
LEAST_TOKENS = 256
"""Of a part, on average: shorter ones spend their time on being started and merged."""


def naive_split_kv_decode(
    q_BHD: torch.Tensor, caches: tuple[torch.Tensor, torch.Tensor],
    table_BL: torch.Tensor, length_B: torch.Tensor, *, scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return output and log-sum-exp in fp64: splitting changes neither."""
    return naive_paged_decode(q_BHD, caches, table_BL, length_B, scale=scale)


@triton.jit
def _split_kv_decode_kernel(
    q_BHD, k_PNGD, v_PNGD, table_BL, length_B, o_BHCD, lse_BHC, G, GROUP, N, D, C, scale,
    stride_qb, stride_qh, stride_qd, stride_kp, stride_kn, stride_kg, stride_kd,
    stride_vp, stride_vn, stride_vg, stride_vd, stride_tb, stride_tl, stride_length,
    BLOCK_M: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    c, head = tl.program_id(0) % C, tl.program_id(0) // C
    b, g = (head // G).to(tl.int64), (head % G).to(tl.int64)
    m, d = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    h = g * GROUP + m
    inside = (m[:, None] < GROUP) & (d[None, :] < D)
    q_D = q_BHD + b * stride_qb + h * stride_qh
    q = tl.load(q_D[:, None] + d[None, :] * stride_qd, mask=inside, other=0.0)
    length = tl.load(length_B + b * stride_length).to(tl.int32)
    part = tl.cdiv(length, C)
    begin = c * part
    o, lse2 = _attend_pages(
        q, k_PNGD + g * stride_kg, v_PNGD + g * stride_vg, table_BL + b * stride_tb,
        begin, min(length, begin + part), tl.zeros((BLOCK_M,), dtype=tl.int32) + length,
        N, D, scale * LOG2_E, stride_tl,
        stride_kp, stride_kn, stride_kd, stride_vp, stride_vn, stride_vd,
        BLOCK_M, BLOCK_S, BLOCK_D,
    )  # fmt: skip
    row = (b * G * GROUP + h) * C + c
    tl.store(o_BHCD + row[:, None] * D + d[None, :], o, mask=inside)
    tl.store(lse_BHC + row, lse2 * LN_2, mask=m < GROUP)


@triton.jit
def _merge_kernel(o_RCD, lse_RC, o_RD, lse_R, C, D, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr):
    """Write the mean of C partial outputs of a row, weighted by the exponentials of their lse."""
    row = tl.program_id(0).to(tl.int64)
    c, d = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_D)
    lse = tl.load(lse_RC + row * C + c, mask=c < C, other=-float("inf"))
    top = tl.max(lse)
    weight = tl.exp(lse - tl.where(top == -float("inf"), 0.0, top))
    total = tl.sum(weight)
    inside = (c[:, None] < C) & (d[None, :] < D)
    o = tl.load(o_RCD + (row * C + c[:, None]) * D + d[None, :], mask=inside, other=0.0)
    o = tl.sum(o * weight[:, None], axis=0) / tl.where(total == 0.0, 1.0, total)
    tl.store(o_RD + row * D + d, o, mask=d < D)
    tl.store(lse_R + row, tl.where(total == 0.0, -float("inf"), top + tl.log(total)))


def choose_parts(*, heads: int, tokens: int) -> int:
    """Return parts that fill the device with so many key heads, of at most so many tokens each."""
    wanted = triton.cdiv(choose(PROGRAMS)["C"], max(1, heads))
    return int(max(1, min(wanted, tokens // LEAST_TOKENS)))


def split_kv_decode(
    q_BHD: torch.Tensor, caches: tuple[torch.Tensor, torch.Tensor], table_BL: torch.Tensor,
    length_B: torch.Tensor, *, scale: float | None = None, parts: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return the output, like q and contiguous, and the log-sum-exp `lse_BH` in fp32.

    Args:
        q_BHD: fp16, bf16 or fp32, any strides.
        caches: k_cache_PNGD and v_cache_PNGD, the same dtype, any strides; H a multiple of G.
        table_BL: page numbers, int32 or int64; what is behind the length may be anything.
        length_B: tokens of each sequence, int32 or int64, from 0 on.
        scale: of the scores; 1/√D if None.
        parts: of each sequence, 1 to 256; as `choose_parts` has it if None.

    Raises:
        ValueError: rank, shape, dtype, device or parts do not fit; the caller's fault.
    """
    check_paged(q_BHD, caches, table_BL, length_B)
    B, H, D = q_BHD.shape
    check_shape("table", table_BL, (B, table_BL.shape[1]))
    _, N, G, _ = caches[0].shape
    C = choose_parts(heads=B * G, tokens=table_BL.shape[1] * N) if parts is None else parts
    require(1 <= C <= 256, f"parts: expected 1 to 256, got {C}")
    o_BHCD = q_BHD.new_empty((B, H, C, D), dtype=torch.float32)
    lse_BHC = q_BHD.new_empty((B, H, C), dtype=torch.float32)
    o_BHD = q_BHD.new_empty((B, H, D))
    lse_BH = q_BHD.new_empty((B, H), dtype=torch.float32)
    if o_BHD.numel():
        launch: Launch = choose(SINGLE if q_BHD.dtype == torch.float32 else LAUNCHES)
        width = max(16, triton.next_power_of_2(D))
        _split_kv_decode_kernel[(B * G * C,)](
            *(q_BHD, *caches, table_BL, length_B, o_BHCD, lse_BHC, G, H // G, N, D, C),
            D**-0.5 if scale is None else float(scale),
            *(*q_BHD.stride(), *caches[0].stride(), *caches[1].stride()),
            *(*table_BL.stride(), length_B.stride(0)),
            BLOCK_M=max(16, triton.next_power_of_2(H // G)),
            BLOCK_D=width,
            **launch,
        )
        parts_up = triton.next_power_of_2(C)
        _merge_kernel[(B * H,)](
            o_BHCD, lse_BHC, o_BHD, lse_BH, C, D, BLOCK_C=parts_up, BLOCK_D=width, num_warps=8
        )
    return o_BHD, lse_BH


def bytes_moved(*, tokens: int, B: int, H: int, G: int, D: int, C: int, element_bytes: int) -> int:
    """Return the bytes that must cross device memory; parts are written and read once."""
    return 2 * (tokens * G + B * H) * D * element_bytes + 4 * B * H + 8 * B * H * C * (D + 1)


def flops(*, tokens: int, H: int, D: int) -> int:
    """Return the operations of the two products, for so many cached tokens in all."""
    return 4 * tokens * H * D
