"""The reference: `host.py` and kernels of `kernels/` in one file. `build.py` makes it."""

# ruff: noqa: PLR0913 - a kernel has a parameter for each stride of each tensor

import itertools
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from harness import PagePool

FLOATS = (torch.float16, torch.bfloat16, torch.float32)


INTEGERS = (torch.int32, torch.int64)


def require(condition: bool, message: str) -> None:
    """Raise ValueError with a message unless a condition holds.

    Raises:
        ValueError: it does not; the caller's fault.
    """
    if not condition:
        raise ValueError(message)


def check_tensor(
    name: str, tensor: torch.Tensor, *, rank: int, dtypes: tuple[torch.dtype, ...]
) -> None:
    """Check that an argument is a tensor of a rank and of one of some dtypes.

    Raises:
        ValueError: it is not; the caller's fault.
    """
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    require(tensor.dim() == rank, f"{name}: expected rank {rank}, got {tensor.dim()}")
    words = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    require(tensor.dtype in dtypes, f"{name}: expected {words}, got {tensor.dtype}")


def check_like(name: str, tensor: torch.Tensor, model: torch.Tensor) -> None:
    """Check that an argument has the shape, dtype and device of another.

    Raises:
        ValueError: it has not; the caller's fault.
    """
    check_tensor(name, tensor, rank=model.dim(), dtypes=(model.dtype,))
    check_shape(name, tensor, tuple(model.shape))
    check_device(name, tensor, model)


def check_shape(name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Check that an argument has a shape.

    Raises:
        ValueError: it has not; the caller's fault.
    """
    require(
        tuple(tensor.shape) == shape, f"{name}: expected shape {shape}, got {tuple(tensor.shape)}"
    )


def check_device(name: str, tensor: torch.Tensor, model: torch.Tensor) -> None:
    """Check that an argument lies on the device of another.

    Raises:
        ValueError: it does not; the caller's fault.
    """
    require(
        tensor.device == model.device,
        f"{name}: expected device {model.device}, got {tensor.device}",
    )


Launch = Mapping[str, int]
"""Keyword arguments of a launch: `BLOCK_…` constants of the kernel, `num_warps`, `num_stages`."""


INTERPRETED: bool = triton.knobs.runtime.interpret
"""Whether this process interprets its kernels; settled when they are imported."""


WARP_THREADS = 32


MAX_WARPS = 16


def architecture() -> int:
    """Return the compute capability, times ten, that the next launch is for.

    The interpreter has none; it gets the smallest blocks, so that small tests have tile borders.
    """
    if INTERPRETED:
        return 75
    return int(triton.runtime.driver.active.get_current_target().arch)


def choose(launches: Mapping[int, Launch]) -> Launch:
    """Return the configuration of the newest architecture that is not newer than the device."""
    here = max(architecture(), min(launches))
    return launches[max(capability for capability in launches if capability <= here)]


def row_launch(columns: int, *, largest: int, per_thread: int = 16) -> Launch:
    """Return a block for one row: a power of two up to `largest`, and the warps to hold it.

    Args:
        columns: of the row.
        largest: block; a longer row needs a loop in the kernel.
        per_thread: elements that a thread should hold, as long as there are warps enough.
    """
    block = min(largest, max(16, triton.next_power_of_2(columns)))
    warps = min(MAX_WARPS, max(1, block // (WARP_THREADS * per_thread)))
    return {"BLOCK_N": block, "num_warps": warps}


KV_WRITE_LAUNCHES = {
    75: {"BLOCK_E": 1024, "num_warps": 4},
    80: {"BLOCK_E": 1024, "num_warps": 4},
    90: {"BLOCK_E": 1024, "num_warps": 4},
}


@triton.jit
def _kv_write_kernel(
    k_TGD, v_TGD, slot_T, k_cache_PNGD, v_cache_PNGD, P, N, G, D, stride_slot,
    stride_kt, stride_kg, stride_kd, stride_vt, stride_vg, stride_vd,
    stride_kcp, stride_kcn, stride_kcg, stride_kcd, stride_vcp, stride_vcn, stride_vcg, stride_vcd,
    BLOCK_E: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slot_T + token * stride_slot).to(tl.int64)
    page, row = slot // N, slot % N
    end = tl.where((slot >= 0) & (page < P), G * D, 0)  # padding has nothing to move
    for start in range(0, G * D, BLOCK_E):
        e = start + tl.arange(0, BLOCK_E).to(tl.int64)
        g, d = e // D, e % D
        inside = e < end
        k = tl.load(k_TGD + token * stride_kt + g * stride_kg + d * stride_kd, mask=inside)
        v = tl.load(v_TGD + token * stride_vt + g * stride_vg + d * stride_vd, mask=inside)
        k_out = k_cache_PNGD + page * stride_kcp + row * stride_kcn
        v_out = v_cache_PNGD + page * stride_vcp + row * stride_vcn
        tl.store(k_out + g * stride_kcg + d * stride_kcd, k, mask=inside)
        tl.store(v_out + g * stride_vcg + d * stride_vcd, v, mask=inside)


def kv_write(
    k_TGD: torch.Tensor,
    v_TGD: torch.Tensor,
    slot_T: torch.Tensor,
    caches: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Write keys and values of new tokens to their slots.

    Args:
        k_TGD: fp16, bf16 or fp32, any strides.
        v_TGD: like k.
        slot_T: int32 or int64, page · page size + row; below 0: padding, goes nowhere.
        caches: k_cache_PNGD and v_cache_PNGD, the same dtype, any strides.

    Raises:
        ValueError: rank, shape, dtype or device do not fit; the caller's fault.
    """
    check_tensor("k", k_TGD, rank=3, dtypes=FLOATS)
    check_like("v", v_TGD, k_TGD)
    T, G, D = k_TGD.shape
    check_tensor("slot", slot_T, rank=1, dtypes=INTEGERS)
    check_shape("slot", slot_T, (T,))
    check_device("slot", slot_T, k_TGD)
    k_cache, v_cache = caches
    check_tensor("k_cache", k_cache, rank=4, dtypes=(k_TGD.dtype,))
    P, N = k_cache.shape[:2]
    check_shape("k_cache", k_cache, (P, N, G, D))
    check_device("k_cache", k_cache, k_TGD)
    check_like("v_cache", v_cache, k_cache)
    if k_TGD.numel() and k_cache.numel():
        _kv_write_kernel[(T,)](
            *(k_TGD, v_TGD, slot_T, k_cache, v_cache, P, N, G, D, slot_T.stride(0)),
            *(*k_TGD.stride(), *v_TGD.stride(), *k_cache.stride(), *v_cache.stride()),
            **choose(KV_WRITE_LAUNCHES),
        )


LARGEST_D = 128


LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)


PAGED_DECODE_LAUNCHES = {
    75: {"BLOCK_S": 16, "num_warps": 4, "num_stages": 2},
    80: {"BLOCK_S": 64, "num_warps": 4, "num_stages": 3},
    90: {"BLOCK_S": 32, "num_warps": 4, "num_stages": 3},
}


PAGED_DECODE_SINGLE = {
    75: {"BLOCK_S": 16, "num_warps": 4, "num_stages": 1},
    80: {"BLOCK_S": 16, "num_warps": 4, "num_stages": 2},
    90: {"BLOCK_S": 16, "num_warps": 4, "num_stages": 2},
}
"""For half precision, and for fp32. On sm_90 tiles of 32 leave registers for four programs on each
multiprocessor (111 a thread; tiles of 64 take 166, for three): 528 at once on an H200."""


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


def paged_decode_on_device(
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
        launch: Launch = choose(
            PAGED_DECODE_SINGLE if q_BHD.dtype == torch.float32 else PAGED_DECODE_LAUNCHES
        )
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


PROGRAMS = {75: {"C": 80}, 80: {"C": 216}, 90: {"C": 528}}
"""Programs that fill the device: two for each multiprocessor of a T4, an A100, four of an H100."""


LEAST_TOKENS = 256
"""Of a part, on average: shorter ones spend their time on being started and merged."""


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


def split_kv_decode_on_device(
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
        launch: Launch = choose(
            PAGED_DECODE_SINGLE if q_BHD.dtype == torch.float32 else PAGED_DECODE_LAUNCHES
        )
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


PAGED_PREFILL_LAUNCHES = {
    75: {"BLOCK_M": 32, "BLOCK_S": 32, "num_warps": 8, "num_stages": 1},
    80: {"BLOCK_M": 64, "BLOCK_S": 64, "num_warps": 8, "num_stages": 2},
    90: {"BLOCK_M": 64, "BLOCK_S": 64, "num_warps": 8, "num_stages": 2},
}


PAGED_PREFILL_SINGLE = {
    75: {"BLOCK_M": 32, "BLOCK_S": 16, "num_warps": 8, "num_stages": 1},
    80: {"BLOCK_M": 32, "BLOCK_S": 16, "num_warps": 8, "num_stages": 2},
    90: {"BLOCK_M": 32, "BLOCK_S": 16, "num_warps": 8, "num_stages": 2},
}
"""For half precision, and for fp32."""


Chunks = tuple[torch.Tensor, int]
"""Where the new tokens of each sequence start, and the end, B + 1 integers; the longest chunk."""


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


def paged_prefill_on_device(
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
    launch: Launch = choose(
        PAGED_PREFILL_SINGLE if q_THD.dtype == torch.float32 else PAGED_PREFILL_LAUNCHES
    )
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


Tensor = torch.Tensor


MOST_SPLITS = 256
"""What one program merges; more parts of the same sequence give the same result."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _blocks_for(tokens: int, block_size: int) -> int:
    return -(-tokens // block_size)


class BlockAllocator:
    def __init__(self, n_blocks: int) -> None:
        _require(n_blocks >= 1, f"n_blocks must be at least 1, got {n_blocks}")
        self._counts = [0] * n_blocks
        self._free = deque(range(n_blocks))

    @property
    def n_free(self) -> int:
        return len(self._free)

    def count(self, block: int) -> int:
        _require(0 <= block < len(self._counts), f"there is no block {block}")
        return self._counts[block]

    def allocate(self, count: int) -> list[int]:
        _require(count >= 0, f"cannot allocate {count} blocks")
        if count > len(self._free):
            raise RuntimeError(f"{count} blocks wanted, {len(self._free)} free")
        blocks = [self._free.popleft() for _ in range(count)]
        for block in blocks:
            self._counts[block] = 1
        return blocks

    def share(self, block: int) -> None:
        _require(self.count(block) > 0, f"block {block} is free")
        self._counts[block] += 1

    def release(self, blocks: list[int]) -> None:
        for block, times in Counter(blocks).items():
            _require(self.count(block) >= times, f"block {block} is released too often")
        for block in blocks:
            self._counts[block] -= 1
            if self._counts[block] == 0:
                self._free.append(block)


# The cache keeps this allocator when a text that follows replaces the other name.
_Blocks = BlockAllocator


def _by_kernel(x: Tensor) -> bool:
    """Return whether a kernel takes over: on a processor it would be interpreted."""
    return x.is_cuda and x.shape[-1] <= LARGEST_D


def write_kv(pool: "PagePool", k_THD: Tensor, v_THD: Tensor, slots_T: Tensor) -> None:
    k_PNHD, v_PNHD = pool.k_PNHD, pool.v_PNHD
    P, N, H, D = k_PNHD.shape
    for name, x in (("k", k_THD), ("v", v_THD)):
        _require(x.dim() == 3 and x.shape[1:] == (H, D), f"{name} has shape {tuple(x.shape)}")
        _require(x.dtype == k_PNHD.dtype, f"{name} must be {k_PNHD.dtype}, got {x.dtype}")
    _require(k_THD.shape == v_THD.shape, "k and v must have the same shape")
    _require(slots_T.dtype == torch.int64, f"slots must be int64, got {slots_T.dtype}")
    _require(slots_T.shape == k_THD.shape[:1], "there must be one slot per token")
    _require(bool(((slots_T >= -1) & (slots_T < P * N)).all()), "a slot outside the pool")
    real_T = slots_T >= 0
    used = slots_T[real_T]
    _require(used.unique().numel() == used.numel(), "two tokens have the same slot")
    if _by_kernel(k_PNHD):
        kv_write(k_THD, v_THD, slots_T, (k_PNHD, v_PNHD))
        return
    k_PNHD[used // N, used % N] = k_THD[real_T]
    v_PNHD[used // N, used % N] = v_THD[real_T]


def _require_paged(
    q: Tensor, k: Tensor, v: Tensor, table: Tensor, lengths: Tensor, *, rows: int
) -> None:
    """Check what all attention over pages has in common; `rows` is B."""
    _require(q.dim() == 3 and k.dim() == 4, "q must have 3 dimensions, k 4")
    _require(q.dtype in (torch.float32, torch.float16), f"q is {q.dtype}")
    _require(k.shape == v.shape, "k and v must have the same shape")
    _require(k.dtype == q.dtype and v.dtype == q.dtype, "q, k and v must have the same dtype")
    (P, N, H, D), Hq = k.shape, q.shape[1]
    _require(q.shape[2] == D, "q and k have different head dimensions")
    _require(N >= 1 and H >= 1 and Hq >= 1 and Hq % H == 0, f"{Hq} query heads, {H} key heads")
    _require(table.dim() == 2 and table.dtype == torch.int64, "the table must be int64 [B, L]")
    _require(lengths.dtype == torch.int64, f"lengths must be int64, got {lengths.dtype}")
    _require(table.shape[0] == rows and lengths.shape == (rows,), "one row and length per sequence")
    room = table.shape[1] * N
    _require(bool(((lengths >= 0) & (lengths <= room)).all()), f"a length outside 0 … {room}")
    first_L = torch.arange(table.shape[1], device=table.device) * N
    used = table[first_L < lengths[:, None]]
    _require(bool(((used >= 0) & (used < P)).all()), "a page number outside the pool")


def _tokens(x_PNHD: Tensor, pages_L: Tensor, first: int, last: int) -> Tensor:
    """Return tokens `first` … `last - 1` of a sequence as float32 [H, last - first, D]."""
    N = x_PNHD.shape[1]
    begin = first // N
    rows = x_PNHD[pages_L[begin : _blocks_for(last, N)]].flatten(0, 1)
    return rows[first - begin * N : last - begin * N].transpose(0, 1).float()


def _attend(q_HGD: Tensor, k_HSD: Tensor, v_HSD: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return attention over S >= 1 tokens, [H, G, D], and its log-sum-exp, [H, G]."""
    scores = (q_HGD @ k_HSD.transpose(1, 2)) * scale
    return torch.softmax(scores, dim=-1) @ v_HSD, torch.logsumexp(scores, dim=-1)


def _decode_one(
    q_HqD: Tensor, caches: tuple[Tensor, Tensor], pages_L: Tensor, cuts: list[int], scale: float
) -> tuple[Tensor, Tensor]:
    """Return attention of one query and its log-sum-exp, over parts between `cuts`, merged."""
    k_PNHD, v_PNHD = caches
    Hq, D = q_HqD.shape
    q_HGD = q_HqD.float().reshape(k_PNHD.shape[2], -1, D)
    out, lse = torch.zeros_like(q_HGD), torch.full(q_HGD.shape[:2], -math.inf, device=q_HGD.device)
    for first, last in itertools.pairwise(cuts):
        if first < last:
            k, v = (_tokens(x, pages_L, first, last) for x in (k_PNHD, v_PNHD))
            part = _attend(q_HGD, k, v, scale)
            out, lse = _merge(torch.stack((out, part[0])), torch.stack((lse, part[1])))
    return out.reshape(Hq, D), lse.reshape(Hq)


def _scale(scale: float | None, D: int) -> float:
    return 1 / math.sqrt(D) if scale is None else scale


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])
    factor = _scale(scale, q_BHqD.shape[2])
    if _by_kernel(q_BHqD):
        caches = (k_PNHD, v_PNHD)
        return paged_decode_on_device(q_BHqD, caches, table_BL, lengths_B, scale=factor)[0]
    out = torch.zeros_like(q_BHqD, memory_format=torch.contiguous_format)
    for b, length in enumerate(lengths_B.tolist()):
        out[b] = _decode_one(q_BHqD[b], (k_PNHD, v_PNHD), table_BL[b], [0, length], factor)[0]
    return out


def _merge(o_C: Tensor, lse_C: Tensor) -> tuple[Tensor, Tensor]:
    """Merge parts along the first dimension; `o_C` has one dimension more than `lse_C`."""
    top = lse_C.amax(dim=0)
    shift = top.masked_fill(top == -math.inf, 0.0)
    weights = torch.exp(lse_C - shift)
    total = weights.sum(dim=0)
    o_C = o_C.masked_fill((weights == 0.0)[..., None], 0.0)
    out = (weights[..., None] * o_C).sum(dim=0) / total.masked_fill(total == 0.0, 1.0)[..., None]
    return out, shift + torch.log(total)


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    _require(o_CBHqD.dim() == 4 and o_CBHqD.shape[0] >= 1, f"o has shape {tuple(o_CBHqD.shape)}")
    _require(lse_CBHq.shape == o_CBHqD.shape[:3], f"lse has shape {tuple(lse_CBHq.shape)}")
    half = o_CBHqD.dtype != torch.float32 or lse_CBHq.dtype != torch.float32
    _require(not half, "both must be float32")
    return _merge(o_CBHqD, lse_CBHq)


def split_kv_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    n_splits: int,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])
    _require(n_splits >= 1, f"n_splits must be at least 1, got {n_splits}")
    factor = _scale(scale, q_BHqD.shape[2])
    if _by_kernel(q_BHqD):
        caches, parts = (k_PNHD, v_PNHD), min(n_splits, MOST_SPLITS)
        return split_kv_decode_on_device(
            q_BHqD, caches, table_BL, lengths_B, scale=factor, parts=parts
        )
    out = torch.zeros_like(q_BHqD, memory_format=torch.contiguous_format)
    lse = torch.zeros(q_BHqD.shape[:2], device=q_BHqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        cuts = [length * c // n_splits for c in range(n_splits + 1)]
        got = _decode_one(q_BHqD[b], (k_PNHD, v_PNHD), table_BL[b], cuts, factor)
        out[b], lse[b] = got
    return out, lse


class _Entry:
    """What a block holds; its identity stands for everything before it, too."""

    __slots__ = ("block", "hash", "parent", "tokens")

    def __init__(
        self, block: int, hash_: int, tokens: tuple[int, ...], parent: "_Entry | None"
    ) -> None:
        self.block, self.hash, self.tokens, self.parent = block, hash_, tokens, parent


class PrefixCache:
    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        hash_fn: Callable[[int, tuple[int, ...]], int],
    ) -> None:
        _require(n_blocks >= 1 and block_size >= 1, "sizes must be at least 1")
        self._size, self._hash = block_size, hash_fn
        self._counts = [0] * n_blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(n_blocks))
        self._by_hash: dict[int, _Entry] = {}
        self._by_block: dict[int, _Entry] = {}

    @property
    def n_free(self) -> int:
        return len(self._free)

    def _full_blocks(self, tokens: list[int]) -> list[tuple[int, tuple[int, ...]]]:
        """Return hash and tokens of each full block."""
        found, parent = [], 0
        for start in range(0, len(tokens) - self._size + 1, self._size):
            chunk = tuple(tokens[start : start + self._size])
            parent = self._hash(parent, chunk)
            found.append((parent, chunk))
        return found

    def _hits(self, full: list[tuple[int, tuple[int, ...]]], most: int) -> list[_Entry]:
        hits: list[_Entry] = []
        for hash_, chunk in full[:most]:
            entry = self._by_hash.get(hash_)
            before = hits[-1] if hits else None
            if entry is None or entry.tokens != chunk or entry.parent is not before:
                break
            hits.append(entry)
        return hits

    def allocate(self, tokens: list[int]) -> tuple[list[int], int]:
        _require(len(tokens) >= 1, "the prompt is empty")
        full = self._full_blocks(tokens)
        hits = self._hits(full, (len(tokens) - 1) // self._size)
        fresh = _blocks_for(len(tokens), self._size) - len(hits)
        if fresh > len(self._free) - sum(self._counts[entry.block] == 0 for entry in hits):
            raise RuntimeError(f"{fresh} blocks wanted, too few free")
        for entry in hits:
            self._free.pop(entry.block, None)
            self._counts[entry.block] += 1
        blocks = [entry.block for entry in hits]
        parent = hits[-1] if hits else None
        for index in range(len(hits), len(hits) + fresh):
            block = self._take()
            blocks.append(block)
            if index < len(full):
                parent = self._enter(_Entry(block, *full[index], parent))
        return blocks, len(hits) * self._size

    def _take(self) -> int:
        block, _ = self._free.popitem(last=False)
        self._counts[block] = 1
        old = self._by_block.pop(block, None)
        if old is not None:
            del self._by_hash[old.hash]
        return block

    def _enter(self, entry: _Entry) -> _Entry:
        replaced = self._by_hash.get(entry.hash)
        if replaced is not None:
            if replaced.tokens == entry.tokens and replaced.parent is entry.parent:
                return replaced
            del self._by_block[replaced.block]
        self._by_hash[entry.hash] = self._by_block[entry.block] = entry
        return entry

    def release(self, blocks: list[int]) -> None:
        for block, times in Counter(blocks).items():
            _require(0 <= block < len(self._counts), f"there is no block {block}")
            _require(self._counts[block] >= times, f"block {block} is released too often")
        for block in reversed(blocks):
            self._counts[block] -= 1
            if self._counts[block] == 0:
                self._free[block] = None


class ForkingCache:
    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        n_kv_heads: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        sizes = (n_blocks, block_size, n_kv_heads, head_dim)
        _require(min(sizes) >= 1, f"sizes must be at least 1, got {sizes}")
        self._kv = torch.empty((2, *sizes), dtype=dtype, device=device)
        self._blocks = _Blocks(n_blocks)
        self._tables: dict[int, list[int]] = {}
        self._lengths: dict[int, int] = {}
        self._created = 0

    @property
    def n_free(self) -> int:
        return self._blocks.n_free

    def _known(self, sequence: int) -> list[int]:
        _require(sequence in self._tables, f"there is no sequence {sequence}")
        return self._tables[sequence]

    def _begin(self, table: list[int], length: int) -> int:
        number = self._created
        self._created += 1
        self._tables[number], self._lengths[number] = table, length
        return number

    def create(self) -> int:
        return self._begin([], 0)

    def append(self, sequence: int, k_THD: Tensor, v_THD: Tensor) -> None:
        table = self._known(sequence)
        N, H, D = self._kv.shape[2:]
        for x in (k_THD, v_THD):
            _require(x.dim() == 3 and x.shape[1:] == (H, D), f"a shape of {tuple(x.shape)}")
            _require(x.dtype == self._kv.dtype, f"dtype {x.dtype}")
        _require(k_THD.shape == v_THD.shape, "k and v must have the same shape")
        start = self._lengths[sequence]
        end = start + k_THD.shape[0]
        if start == end:
            return
        copied = start % N > 0 and self._blocks.count(table[-1]) > 1
        fresh = self._blocks.allocate(_blocks_for(end, N) - len(table) + copied)
        if copied:
            own = fresh.pop(0)
            self._kv[:, own, : start % N] = self._kv[:, table[-1], : start % N]
            self._blocks.release([table[-1]])
            table[-1] = own
        table += fresh
        places = torch.arange(start, end)
        pages = torch.tensor(table)[places // N]
        self._kv[0][pages, places % N] = k_THD
        self._kv[1][pages, places % N] = v_THD
        self._lengths[sequence] = end

    def fork(self, sequence: int) -> int:
        table = self._known(sequence)
        for block in table:
            self._blocks.share(block)
        return self._begin(list(table), self._lengths[sequence])

    def gather(self, sequence: int) -> tuple[Tensor, Tensor]:
        table = torch.tensor(self._known(sequence), dtype=torch.int64)
        k, v = (x[table].flatten(0, 1)[: self._lengths[sequence]] for x in self._kv)
        return k, v

    def release(self, sequence: int) -> None:
        self._blocks.release(self._known(sequence))
        del self._tables[sequence], self._lengths[sequence]


def paged_prefill(
    q_THqD: Tensor,
    starts_B1: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _require(
        starts_B1.dim() == 1 and starts_B1.dtype == torch.int64, "starts must be int64 [B + 1]"
    )
    _require(starts_B1.numel() >= 1, "starts must have an end")
    _require_paged(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=starts_B1.numel() - 1)
    starts = starts_B1.tolist()
    ends = starts[0] == 0 and starts[-1] == q_THqD.shape[0] and starts == sorted(starts)
    _require(ends, f"starts must rise from 0 to {q_THqD.shape[0]}")
    factor = _scale(scale, q_THqD.shape[2])
    if _by_kernel(q_THqD):
        chunks = starts_B1, max((b - a for a, b in itertools.pairwise(starts)), default=0)
        caches = (k_PNHD, v_PNHD)
        return paged_prefill_on_device(q_THqD, chunks, caches, table_BL, lengths_B, scale=factor)[0]
    out = torch.zeros_like(q_THqD, memory_format=torch.contiguous_format)
    for b, length in enumerate(lengths_B.tolist()):
        first, last = starts[b], starts[b + 1]
        seen = max(first, last - length)  # queries before this one see nothing
        if seen < last:
            k, v = (_tokens(x, table_BL[b], 0, length) for x in (k_PNHD, v_PNHD))
            out[seen:last] = _causal(q_THqD[seen:last], k, v, factor)
    return out


def _causal(q_THqD: Tensor, k_HSD: Tensor, v_HSD: Tensor, scale: float) -> Tensor:
    """Return attention of the last T <= S tokens, each over all up to itself."""
    (T, Hq, D), (H, S, _) = q_THqD.shape, k_HSD.shape
    q = q_THqD.float().transpose(0, 1).reshape(H, Hq // H * T, D)
    scores = ((q @ k_HSD.transpose(1, 2)) * scale).view(H, Hq // H, T, S)
    places = torch.arange(S, device=q.device)
    unseen = places > places[S - T :, None]
    weights = torch.softmax(scores.masked_fill(unseen, -math.inf), dim=-1)
    return (weights.view(H, -1, S) @ v_HSD).view(Hq, T, D).transpose(0, 1)


class _Request:
    __slots__ = ("blocks", "ended", "last", "number", "tokens")

    def __init__(self, number: int, prompt: list[int], max_new_tokens: int) -> None:
        self.number, self.tokens = number, list(prompt)
        self.last = len(prompt) + max_new_tokens
        self.blocks, self.ended = 0, False


class Scheduler:
    def __init__(self, n_blocks: int, block_size: int, *, max_running: int, eos_id: int) -> None:
        _require(min(n_blocks, block_size, max_running) >= 1, "sizes must be at least 1")
        self._total = self._free = n_blocks
        self._size, self._most, self._eos = block_size, max_running, eos_id
        self._requests: dict[int, _Request] = {}
        self._waiting: deque[_Request] = deque()
        self._running: list[_Request] = []  # oldest first
        self._uncommitted = False

    @property
    def n_free(self) -> int:
        return self._free

    def add(self, request: int, prompt: list[int], max_new_tokens: int) -> None:
        _require(request not in self._requests, f"request {request} is known")
        _require(len(prompt) >= 1 and max_new_tokens >= 1, "nothing to do")
        needed = _blocks_for(len(prompt) + max_new_tokens - 1, self._size)
        _require(needed <= self._total, f"{needed} blocks needed, there are {self._total}")
        self._requests[request] = _Request(request, prompt, max_new_tokens)
        self._waiting.append(self._requests[request])

    def _needed(self, one: _Request) -> int:
        return _blocks_for(len(one.tokens), self._size) - one.blocks

    def _move(self, one: _Request, blocks: int) -> None:
        one.blocks += blocks
        self._free -= blocks

    def step(self) -> dict[str, list[int]]:
        if self._uncommitted:
            raise RuntimeError("the last step has not been committed")
        preempted = self._make_room()
        decoded = [one.number for one in self._running]
        admitted = [] if preempted else self._admit()
        self._uncommitted = bool(self._running)
        return {"admitted": admitted, "decoded": decoded, "preempted": preempted}

    def _make_room(self) -> list[int]:
        """Give every running request the block it needs; return who had to go."""
        preempted: list[int] = []
        place = 0
        while place < len(self._running):
            one = self._running[place]
            while one.blocks and self._needed(one) > self._free:
                newest = self._running.pop()
                self._move(newest, -newest.blocks)
                self._waiting.appendleft(newest)
                preempted.append(newest.number)
            if one.blocks:
                self._move(one, self._needed(one))
            place += 1
        return preempted

    def _admit(self) -> list[int]:
        admitted: list[int] = []
        while self._waiting and len(self._running) < self._most:
            if self._needed(self._waiting[0]) > self._free:
                break
            one = self._waiting.popleft()
            self._move(one, self._needed(one))
            self._running.append(one)
            admitted.append(one.number)
        return admitted

    def commit(self, tokens: list[list[int]]) -> list[int]:
        new = {number: token for number, token in tokens}
        same = len(new) == len(tokens) and new.keys() == {one.number for one in self._running}
        _require(same and self._uncommitted == bool(new), "not the requests of the last step")
        self._uncommitted = False
        ended: list[_Request] = []
        for one in self._running:
            one.tokens.append(new[one.number])
            if new[one.number] == self._eos or len(one.tokens) == one.last:
                self._move(one, -one.blocks)
                one.ended = True
                ended.append(one)
        self._running = [one for one in self._running if not one.ended]
        return [one.number for one in ended]

    def tokens(self, request: int) -> list[int]:
        _require(request in self._requests, f"there is no request {request}")
        return list(self._requests[request].tokens)
