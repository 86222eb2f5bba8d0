"""Write the keys and values of new tokens into a paged cache.

Takes: keys and values of a step, one slot per token, the two caches. Gives: nothing new: the caches
are changed in place. Does not cover: two tokens with one slot (either may win); quantised caches.

The idea: a scatter of whole tokens. Slot s is row s % page_size of page s // page_size; one program
per token moves its G · D numbers of both tensors, as they lie together in a page. No arithmetic at
all: each byte is read once and written once, and what matters is that a program's addresses are
neighbours.

A slot below 0 is padding: its token goes nowhere. So does one behind the cache, as a kernel can
raise nothing, and any other address would be someone else's: `check_slots` finds one, at the price
of waiting for the device.

Shapes: T tokens, G key heads, D width of a head, P pages, N tokens in a page (page size).
"""

import torch
import triton
import triton.language as tl

from .checks import FLOATS, INTEGERS, check_device, check_like, check_shape, check_tensor, require
from .launch import choose

LAUNCHES = {
    75: {"BLOCK_E": 1024, "num_warps": 4},
    80: {"BLOCK_E": 1024, "num_warps": 4},
    90: {"BLOCK_E": 1024, "num_warps": 4},
}


def naive_kv_write(
    k_TGD: torch.Tensor, v_TGD: torch.Tensor, slot_T: torch.Tensor,
    k_cache_PNGD: torch.Tensor, v_cache_PNGD: torch.Tensor,
) -> None:  # fmt: skip
    """Write token by token."""
    N = k_cache_PNGD.shape[1]
    for t, slot in enumerate(slot_T.tolist()):
        if slot >= 0:
            k_cache_PNGD[slot // N, slot % N] = k_TGD[t]
            v_cache_PNGD[slot // N, slot % N] = v_TGD[t]


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


def check_slots(slot_T: torch.Tensor, *, pages: int, page_size: int) -> None:
    """Check that all slots are padding or in the cache, and none comes twice; waits for the device.

    Raises:
        ValueError: one is behind the cache, or comes twice; the caller's fault.
    """
    used = slot_T[slot_T >= 0]
    top = int(used.max()) if used.numel() else -1
    require(top < pages * page_size, f"slot: expected below {pages * page_size}, got {top}")
    require(used.unique().numel() == used.numel(), "slot: expected each once, got one twice")


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
            **choose(LAUNCHES),
        )


def bytes_moved(*, tokens: int, heads: int, width: int, element_bytes: int) -> int:
    """Return the bytes that must cross device memory: both tensors read and written, the slots."""
    return tokens * (4 * heads * width * element_bytes + 8)


def flops(*, tokens: int) -> int:
    """Return the operations: none, for any number of tokens."""
    return 0 * tokens
