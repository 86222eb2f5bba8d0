"""Causal attention of new tokens over a paged cache that already holds them, sequence by sequence.

Takes: the new queries of all sequences, packed one behind the other, where each starts, the caches,
a block table, lengths with the new tokens. Gives: the output, packed alike, and its log-sum-exp.
Does not cover: writing the new keys (`kv_write` does, first); heads wider than 128.

The idea: a chunk of n new tokens at the end of a sequence of S is a causal mask aligned
bottom-right: new token i sees cached token j if j ≤ i + S − n. So a whole prompt (n = S), a chunk
of one, and a decode step (n = 1) are one operation, and sequences of any lengths share a launch
without padding. A program has a tile of queries of one head of one sequence, and walks over the
pages as `paged_decode`, up to the last token that any of its queries sees. n · D numbers in, 4 · n
· S · D operations: for long chunks the tensor cores decide, for short ones memory.

The number n is that of the chunk and S that of the sequence: to take one for the other shifts the
mask.

Shapes: T new tokens of all sequences, B sequences, H query heads, G key heads, D width of a head, P
pages, N tokens in a page, L pages in a row of the table.
"""

import torch
import triton
import triton.language as tl

from .checks import INTEGERS, check_device, check_shape, check_tensor, require
from .launch import Launch, choose
from .paged_decode import LN_2, LOG2_E, _attend_pages, check_paged

LAUNCHES = {
    75: {"BLOCK_M": 32, "BLOCK_S": 32, "num_warps": 8, "num_stages": 1},
    80: {"BLOCK_M": 64, "BLOCK_S": 64, "num_warps": 8, "num_stages": 2},
    90: {"BLOCK_M": 64, "BLOCK_S": 64, "num_warps": 8, "num_stages": 2},
}
SINGLE = {
    75: {"BLOCK_M": 32, "BLOCK_S": 16, "num_warps": 8, "num_stages": 1},
    80: {"BLOCK_M": 32, "BLOCK_S": 16, "num_warps": 8, "num_stages": 2},
    90: {"BLOCK_M": 32, "BLOCK_S": 16, "num_warps": 8, "num_stages": 2},
}
"""For half precision, and for fp32."""

Chunks = tuple[torch.Tensor, int]
"""Where the new tokens of each sequence start, and the end, B + 1 integers; the longest chunk."""


def naive_paged_prefill(
    q_THD: torch.Tensor, chunks: Chunks, caches: tuple[torch.Tensor, torch.Tensor],
    table_BL: torch.Tensor, length_B: torch.Tensor, *, scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return output and log-sum-exp in fp64, query by query."""
    (T, H, _), (_, N, G, _) = q_THD.shape, caches[0].shape
    o_THD = torch.zeros(q_THD.shape, dtype=torch.float64, device=q_THD.device)
    lse_TH = torch.full((T, H), -torch.inf, dtype=torch.float64, device=q_THD.device)
    starts = chunks[0].tolist()
    for b, length in enumerate(length_B.tolist()):
        k_SHD, v_SHD = (
            cache[table_BL[b, : -(-length // N)].long()].flatten(0, 1)[:length].double()
            .repeat_interleave(H // G, dim=1)
            for cache in caches
        )  # fmt: skip
        for t in range(starts[b], starts[b + 1]):
            seen = t - starts[b + 1] + 1 + length
            if seen > 0:
                s_HS = scale * torch.einsum("hd,shd->hs", q_THD[t].double(), k_SHD[:seen])
                o_THD[t] = torch.einsum("hs,shd->hd", s_HS.softmax(dim=1), v_SHD[:seen])
                lse_TH[t] = s_HS.logsumexp(dim=1)
    return o_THD, lse_TH


@triton.jit
def _paged_prefill_kernel(
    q_THD, start_B, k_PNGD, v_PNGD, table_BL, length_B, o_THD, lse_TH, H, GROUP, N, D, TILES, scale,
    stride_qt, stride_qh, stride_qd, stride_start, stride_kp, stride_kn, stride_kg, stride_kd,
    stride_vp, stride_vn, stride_vg, stride_vd, stride_tb, stride_tl, stride_length,
    BLOCK_M: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    tile, head = tl.program_id(0) % TILES, tl.program_id(0) // TILES
    b, h = (head // H).to(tl.int64), (head % H).to(tl.int64)
    start = tl.load(start_B + b * stride_start).to(tl.int64)
    count = (tl.load(start_B + (b + 1) * stride_start).to(tl.int64) - start).to(tl.int32)
    length = tl.load(length_B + b * stride_length).to(tl.int32)
    first = tile * BLOCK_M
    m, d = first + tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    inside = (m[:, None] < count) & (d[None, :] < D)
    row = start + m
    q_D = q_THD + row * stride_qt + h * stride_qh
    q = tl.load(q_D[:, None] + d[None, :] * stride_qd, mask=inside, other=0.0)
    end = 0
    if first < count:
        end = min(length, max(0, first + BLOCK_M + length - count))
    o, lse2 = _attend_pages(
        q, k_PNGD + h // GROUP * stride_kg, v_PNGD + h // GROUP * stride_vg,
        table_BL + b * stride_tb, 0, end, m + length - count, N, D, scale * LOG2_E, stride_tl,
        stride_kp, stride_kn, stride_kd, stride_vp, stride_vn, stride_vd,
        BLOCK_M, BLOCK_S, BLOCK_D,
    )  # fmt: skip
    out = row * H + h
    tl.store(o_THD + out[:, None] * D + d[None, :], o, mask=inside)
    tl.store(lse_TH + out, lse2 * LN_2, mask=m < count)


def check_chunks(start_B: torch.Tensor, *, tokens: int, longest: int) -> None:
    """Check that chunks are one behind the other and cover all tokens; waits for the device.

    Raises:
        ValueError: they do not, or one is longer than the longest; the caller's fault.
    """
    steps = start_B.diff()
    fits = int(start_B[0]) == 0 and int(start_B[-1]) == tokens and bool((steps >= 0).all())
    require(fits, f"start: expected to grow from 0 to {tokens}, got {start_B.tolist()}")
    top = int(steps.max()) if steps.numel() else 0
    require(top <= longest, f"longest: expected at least {top}, got {longest}")


def paged_prefill(
    q_THD: torch.Tensor, chunks: Chunks, caches: tuple[torch.Tensor, torch.Tensor],
    table_BL: torch.Tensor, length_B: torch.Tensor, *, scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return the output, like q and contiguous, and the log-sum-exp `lse_TH` in fp32.

    Args:
        q_THD: fp16, bf16 or fp32, any strides; sequence b has the rows start[b] to start[b + 1].
        chunks: start, B + 1 int32 or int64, and the most rows that a sequence has.
        caches: k_cache_PNGD and v_cache_PNGD, the same dtype, any strides; H a multiple of G.
        table_BL: page numbers, int32 or int64; what is behind the length may be anything.
        length_B: tokens of each sequence in the cache, the new ones with them.
        scale: of the scores; 1/√D if None.

    Raises:
        ValueError: rank, shape, dtype or device do not fit; the caller's fault.
    """
    check_paged(q_THD, caches, table_BL, length_B)
    start_B, longest = chunks
    (_, H, D), B = q_THD.shape, table_BL.shape[0]
    check_tensor("start", start_B, rank=1, dtypes=INTEGERS)
    check_shape("start", start_B, (B + 1,))
    check_device("start", start_B, q_THD)
    require(longest >= 0, f"longest: expected at least 0, got {longest}")
    _, N, G, _ = caches[0].shape
    o_THD = torch.empty(q_THD.shape, dtype=q_THD.dtype, device=q_THD.device)
    lse_TH = torch.empty(q_THD.shape[:2], dtype=torch.float32, device=q_THD.device)
    launch: Launch = choose(SINGLE if q_THD.dtype == torch.float32 else LAUNCHES)
    tiles = triton.cdiv(longest, launch["BLOCK_M"])
    if tiles * B * H:
        _paged_prefill_kernel[(tiles * B * H,)](
            *(q_THD, start_B, *caches, table_BL, length_B, o_THD, lse_TH, H, H // G, N, D, tiles),
            D**-0.5 if scale is None else float(scale),
            *(*q_THD.stride(), start_B.stride(0), *caches[0].stride(), *caches[1].stride()),
            *(*table_BL.stride(), length_B.stride(0)),
            BLOCK_D=max(16, triton.next_power_of_2(D)),
            **launch,
        )
    return o_THD, lse_TH


def bytes_moved(*, tokens: int, T: int, H: int, G: int, D: int, element_bytes: int) -> int:
    """Return the bytes that must cross device memory: cached tokens once, new queries, output."""
    return 2 * (tokens * G + T * H) * D * element_bytes + 4 * T * H


def flops(*, chunks: tuple[tuple[int, int], ...], H: int, D: int) -> int:
    """Return the operations of the two products, for chunks of (new tokens, length)."""
    scores = sum(max(0, length - n + 1 + i) for n, length in chunks for i in range(n))
    return 4 * scores * H * D
