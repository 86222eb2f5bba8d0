"""Attention of one new query per sequence over a paged cache.

Takes: a query per sequence, the paged caches, a block table, lengths. Gives: the output and its
log-sum-exp. Does not cover: several queries per sequence (`paged_prefill`); long sequences in a
small batch, which leave most of the device idle (`split_kv_decode`); heads wider than 128.

The idea: a decode step reads the whole cache once and does 4 operations with each pair of numbers,
4 · (H / G) / (2 · 2) a byte in fp16: for 8 query heads a key head, 8 operations a byte. Memory
decides, so each key head must be read once for all its query heads. One program per sequence and
key head: its query heads are the rows of a tile (at least 16, what tensor cores want, the rest
empty), and it walks over the tokens as `flash_attention` does.

Token t lies in page table[t // page size], row t % page size. Tiles are of BLOCK_S tokens whatever
the page size, and each token looks its page up: pages of 1 or of 256 tokens cost nearly the same.
Two rules: the table behind the last used page is not read (it may hold anything), and rows behind
the length are loaded as 0, in v too, as the cache may hold NaN there, and 0 · NaN is NaN.

A sequence of length 0 is 0, its log-sum-exp −inf. Page numbers and lengths lie on the device and
are not checked by the launch; `check_pages` does, at the price of waiting for the device.

Shapes: B sequences, H query heads, G key heads, D width of a head, P pages, N tokens in a page
(page size), L pages in a row of the table.
"""

import torch
import triton
import triton.language as tl

from .checks import FLOATS, INTEGERS, check_device, check_like, check_shape, check_tensor, require
from .launch import Launch, choose

LARGEST_D = 128
LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)

LAUNCHES = {
    75: {"BLOCK_S": 16, "num_warps": 4, "num_stages": 2},
    80: {"BLOCK_S": 64, "num_warps": 4, "num_stages": 3},
    90: {"BLOCK_S": 32, "num_warps": 4, "num_stages": 3},
}
SINGLE = {
    75: {"BLOCK_S": 16, "num_warps": 4, "num_stages": 1},
    80: {"BLOCK_S": 16, "num_warps": 4, "num_stages": 2},
    90: {"BLOCK_S": 16, "num_warps": 4, "num_stages": 2},
}
"""For half precision, and for fp32. On sm_90 tiles of 32 leave registers for four programs on each
multiprocessor (111 a thread; tiles of 64 take 166, for three): 528 at once on an H200."""


def naive_paged_decode(
    q_BHD: torch.Tensor, caches: tuple[torch.Tensor, torch.Tensor],
    table_BL: torch.Tensor, length_B: torch.Tensor, *, scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return output and log-sum-exp in fp64, sequence by sequence."""
    (B, H, _), (_, N, G, _) = q_BHD.shape, caches[0].shape
    o_BHD = torch.zeros(q_BHD.shape, dtype=torch.float64, device=q_BHD.device)
    lse_BH = torch.full((B, H), -torch.inf, dtype=torch.float64, device=q_BHD.device)
    for b, length in enumerate(length_B.tolist()):
        pages = table_BL[b, : -(-length // N)].long()
        if length:
            k_SHD, v_SHD = (
                cache[pages].flatten(0, 1)[:length].double().repeat_interleave(H // G, dim=1)
                for cache in caches
            )
            s_HS = scale * torch.einsum("hd,shd->hs", q_BHD[b].double(), k_SHD)
            o_BHD[b] = torch.einsum("hs,shd->hd", s_HS.softmax(dim=1), v_SHD)
            lse_BH[b] = s_HS.logsumexp(dim=1)
    return o_BHD, lse_BH


@triton.jit
def _attend_pages(
    q, k_PND, v_PND, table_L, begin, end, last_M, N, D, scale2, stride_l,
    stride_kp, stride_kn, stride_kd, stride_vp, stride_vn, stride_vd,
    BLOCK_M: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Return the output, and the log-sum-exp in base 2, of rows over tokens `begin` to `end`.

    Row m sees the tokens up to `last_M`; one that sees none is 0, its log-sum-exp −inf.
    """
    d = tl.arange(0, BLOCK_D)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    for start in range(begin, end, BLOCK_S):
        s = start + tl.arange(0, BLOCK_S)
        page = tl.load(table_L + s // N * stride_l, mask=s < end, other=0).to(tl.int64)
        row = (s % N).to(tl.int64)
        inside = (s[:, None] < end) & (d[None, :] < D)
        k_S = k_PND + page * stride_kp + row * stride_kn
        k = tl.load(k_S[:, None] + d[None, :] * stride_kd, mask=inside, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale2
        seen = (s[None, :] < end) & (s[None, :] <= last_M[:, None])
        scores = tl.where(seen, scores, -float("inf"))
        new_top = tl.maximum(top, tl.max(scores, axis=1))
        shift = tl.where(new_top == -float("inf"), 0.0, new_top)
        p = tl.exp2(scores - shift[:, None])
        shrink = tl.exp2(top - shift)
        total = total * shrink + tl.sum(p, axis=1)
        v_S = v_PND + page * stride_vp + row * stride_vn
        v = tl.load(v_S[:, None] + d[None, :] * stride_vd, mask=inside, other=0.0)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = new_top
    acc = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    return acc, tl.where(total == 0.0, -float("inf"), top + tl.log2(total))


@triton.jit
def _paged_decode_kernel(
    q_BHD, k_PNGD, v_PNGD, table_BL, length_B, o_BHD, lse_BH, G, GROUP, N, D, scale,
    stride_qb, stride_qh, stride_qd, stride_kp, stride_kn, stride_kg, stride_kd,
    stride_vp, stride_vn, stride_vg, stride_vd, stride_tb, stride_tl, stride_length,
    BLOCK_M: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    b, g = (tl.program_id(0) // G).to(tl.int64), (tl.program_id(0) % G).to(tl.int64)
    m, d = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    h = g * GROUP + m
    inside = (m[:, None] < GROUP) & (d[None, :] < D)
    q_D = q_BHD + b * stride_qb + h * stride_qh
    q = tl.load(q_D[:, None] + d[None, :] * stride_qd, mask=inside, other=0.0)
    length = tl.load(length_B + b * stride_length).to(tl.int32)
    o, lse2 = _attend_pages(
        q, k_PNGD + g * stride_kg, v_PNGD + g * stride_vg, table_BL + b * stride_tb,
        0, length, tl.zeros((BLOCK_M,), dtype=tl.int32) + length, N, D, scale * LOG2_E, stride_tl,
        stride_kp, stride_kn, stride_kd, stride_vp, stride_vn, stride_vd,
        BLOCK_M, BLOCK_S, BLOCK_D,
    )  # fmt: skip
    row = b * G * GROUP + h
    tl.store(o_BHD + row[:, None] * D + d[None, :], o, mask=inside)
    tl.store(lse_BH + row, lse2 * LN_2, mask=m < GROUP)


def check_pages(
    table_BL: torch.Tensor, length_B: torch.Tensor, *, pages: int, page_size: int
) -> None:
    """Check that lengths fit the table and used page numbers the cache; waits for the device.

    Raises:
        ValueError: they do not; the caller's fault.
    """
    width = table_BL.shape[1] * page_size
    fits = bool(((length_B >= 0) & (length_B <= width)).all())
    require(fits, f"length: expected 0 to {width}, got {length_B.tolist()}")
    place_L = torch.arange(table_BL.shape[1], device=table_BL.device) * page_size
    used = table_BL[place_L[None, :] < length_B[:, None]]
    fits = bool(((used >= 0) & (used < pages)).all())
    require(fits, f"table: expected page numbers 0 to {pages - 1} in use")


def check_paged(
    q: torch.Tensor, caches: tuple[torch.Tensor, torch.Tensor],
    table_BL: torch.Tensor, length_B: torch.Tensor,
) -> None:  # fmt: skip
    """Check that a query, whose last two dimensions are H and D, caches and table fit each other.

    Raises:
        ValueError: rank, shape, dtype or device do not fit; the caller's fault.
    """
    check_tensor("q", q, rank=3, dtypes=FLOATS)
    H, D = q.shape[1:]
    k_cache, v_cache = caches
    check_tensor("k_cache", k_cache, rank=4, dtypes=(q.dtype,))
    P, N, G, _ = k_cache.shape
    check_shape("k_cache", k_cache, (P, N, G, D))
    check_device("k_cache", k_cache, q)
    check_like("v_cache", v_cache, k_cache)
    check_tensor("table", table_BL, rank=2, dtypes=INTEGERS)
    check_tensor("length", length_B, rank=1, dtypes=INTEGERS)
    check_shape("length", length_B, (table_BL.shape[0],))
    check_device("table", table_BL, q)
    check_device("length", length_B, q)
    require(0 < D <= LARGEST_D, f"q: expected heads 1 to {LARGEST_D} wide, got {D}")
    require(N > 0, "k_cache: expected pages of at least one token, got 0")
    require(G > 0 and H % G == 0, f"q: expected a multiple of {G} heads, got {H}")


def paged_decode(
    q_BHD: torch.Tensor, caches: tuple[torch.Tensor, torch.Tensor],
    table_BL: torch.Tensor, length_B: torch.Tensor, *, scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return the output, like q and contiguous, and the log-sum-exp `lse_BH` in fp32.

    Args:
        q_BHD: fp16, bf16 or fp32, any strides.
        caches: k_cache_PNGD and v_cache_PNGD, the same dtype, any strides; H a multiple of G.
        table_BL: page numbers, int32 or int64; what is behind the length may be anything.
        length_B: tokens of each sequence, int32 or int64, from 0 on.
        scale: of the scores; 1/√D if None.

    Raises:
        ValueError: rank, shape, dtype or device do not fit; the caller's fault.
    """
    check_paged(q_BHD, caches, table_BL, length_B)
    B, H, D = q_BHD.shape
    check_shape("table", table_BL, (B, table_BL.shape[1]))
    (_, N, G, _), group = caches[0].shape, H // caches[0].shape[2]
    o_BHD = torch.empty((B, H, D), dtype=q_BHD.dtype, device=q_BHD.device)
    lse_BH = torch.empty((B, H), dtype=torch.float32, device=q_BHD.device)
    if o_BHD.numel():
        launch: Launch = choose(SINGLE if q_BHD.dtype == torch.float32 else LAUNCHES)
        _paged_decode_kernel[(B * G,)](
            *(q_BHD, *caches, table_BL, length_B, o_BHD, lse_BH, G, group, N, D),
            D**-0.5 if scale is None else float(scale),
            *(*q_BHD.stride(), *caches[0].stride(), *caches[1].stride()),
            *(*table_BL.stride(), length_B.stride(0)),
            BLOCK_M=max(16, triton.next_power_of_2(group)),
            BLOCK_D=max(16, triton.next_power_of_2(D)),
            **launch,
        )
    return o_BHD, lse_BH


def bytes_moved(*, tokens: int, B: int, H: int, G: int, D: int, element_bytes: int) -> int:
    """Return the bytes that must cross device memory, for so many cached tokens in all."""
    return 2 * (tokens * G + B * H) * D * element_bytes + 4 * B * H


def flops(*, tokens: int, H: int, D: int) -> int:
    """Return the operations of the two products, for so many cached tokens in all."""
    return 4 * tokens * H * D
