"""The calls whose launches are compiled: for each, a kernel file and arguments of a usual size.

Takes: nothing. Gives: `CASES` and the exceptions `SPILLS`. Does not cover: values; tensors are
empty memory of the right shapes, except where a wrapper reads them.
"""

from collections.abc import Callable
from types import ModuleType

import torch

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16

Case = tuple[str, Callable[[ModuleType], object]]


def _empty(*shape: int, dtype: torch.dtype = F16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype)


def _rmsnorm(op: ModuleType, width: int, dtype: torch.dtype) -> None:
    x, w = _empty(2048, width, dtype=dtype), _empty(width, dtype=dtype)
    _, rstd = op.rmsnorm(x, w)
    op.rmsnorm_backward(x, x, w, rstd)


def _layernorm(op: ModuleType, width: int, dtype: torch.dtype) -> None:
    x, w = _empty(2048, width, dtype=dtype), _empty(width, dtype=dtype)
    _, mean, rstd = op.layernorm(x, w, w)
    op.layernorm_backward(x, x, w_H=w, mean_M=mean, rstd_M=rstd)


def _cross_entropy(op: ModuleType, dtype: torch.dtype) -> None:
    op.cross_entropy(_empty(64, 50257, dtype=dtype), torch.zeros(64, dtype=torch.int64))


def _matmul(op: ModuleType, dtype: torch.dtype) -> None:
    a, bias = _empty(4096, 4096, dtype=dtype), _empty(4096, dtype=dtype)
    op.matmul(a, a, bias, activation="gelu")
    op.matmul(a, a.T)


def _flash(op: ModuleType, dtype: torch.dtype, width: int) -> None:
    q, k = _empty(2, 8, 2048, width, dtype=dtype), _empty(2, 2, 2048, width, dtype=dtype)
    op.flash_attention(q, k, k, causal=True)


def _flash_backward(op: ModuleType, dtype: torch.dtype, width: int) -> None:
    q, k = _empty(2, 8, 2048, width, dtype=dtype), _empty(2, 2, 2048, width, dtype=dtype)
    lse = _empty(2, 8, 2048, dtype=F32)
    op.flash_attention_backward(q, (q, k, k), (q, lse), causal=True)


def _adamw(op: ModuleType, low: torch.dtype) -> None:
    w, g = _empty(2**20, dtype=F32), _empty(2**20, dtype=low)
    op.adamw(w, g, (w, w), step=1, rule=op.Rule(), copy=g)


def _kv_write(op: ModuleType) -> None:
    k, cache = _empty(64, 8, 128), _empty(1024, 16, 8, 128)
    op.kv_write(k, k, torch.zeros(64, dtype=torch.int64), (cache, cache))


def _paged(dtype: torch.dtype) -> tuple[object, ...]:
    cache, table = _empty(1024, 16, 8, 128, dtype=dtype), torch.zeros(64, 256, dtype=torch.int32)
    return (cache, cache), table, torch.zeros(64, dtype=torch.int32)


def _paged_decode(op: ModuleType, dtype: torch.dtype) -> None:
    op.paged_decode(_empty(64, 32, 128, dtype=dtype), *_paged(dtype))


def _split(op: ModuleType, dtype: torch.dtype) -> None:
    op.split_kv_decode(_empty(64, 32, 128, dtype=dtype), *_paged(dtype), parts=16)


def _prefill(op: ModuleType, dtype: torch.dtype) -> None:
    chunks = (torch.zeros(65, dtype=torch.int64), 512)
    op.paged_prefill(_empty(2048, 32, 128, dtype=dtype), chunks, *_paged(dtype))


CASES: dict[str, Case] = {
    "matrix_add fp32": (
        "matrix_add",
        lambda op: op.matrix_add(_empty(2048, 2048, dtype=F32), _empty(2048, 2048, dtype=F32)),
    ),
    "matrix_add fp32 transposed": (
        "matrix_add",
        lambda op: op.matrix_add(_empty(2048, 2048, dtype=F32), _empty(2048, 2048, dtype=F32).T),
    ),
    "softmax fp32 1000": ("softmax", lambda op: op.softmax(_empty(2048, 1000, dtype=F32))),
    "softmax fp32 16384": ("softmax", lambda op: op.softmax(_empty(64, 16384, dtype=F32))),
    "softmax fp16 65537": ("softmax", lambda op: op.softmax(_empty(64, 65537))),
    "rmsnorm fp16 4096": ("rmsnorm", lambda op: _rmsnorm(op, 4096, F16)),
    "rmsnorm fp32 8192": ("rmsnorm", lambda op: _rmsnorm(op, 8192, F32)),
    "layernorm fp16 4096": ("layernorm", lambda op: _layernorm(op, 4096, F16)),
    "layernorm fp32 8192": ("layernorm", lambda op: _layernorm(op, 8192, F32)),
    "cross_entropy fp16": ("cross_entropy", lambda op: _cross_entropy(op, F16)),
    "cross_entropy fp32": ("cross_entropy", lambda op: _cross_entropy(op, F32)),
    "matmul fp16": ("matmul", lambda op: _matmul(op, F16)),
    "matmul bf16": ("matmul", lambda op: _matmul(op, BF16)),
    "matmul fp32": ("matmul", lambda op: _matmul(op, F32)),
    "flash fp16 64": ("flash_attention", lambda op: _flash(op, F16, 64)),
    "flash bf16 128": ("flash_attention", lambda op: _flash(op, BF16, 128)),
    "flash fp16 128": ("flash_attention", lambda op: _flash(op, F16, 128)),
    "flash fp32 80": ("flash_attention", lambda op: _flash(op, F32, 80)),
    "flash fp32 128": ("flash_attention", lambda op: _flash(op, F32, 128)),
    "backward fp16 64": ("flash_attention_backward", lambda op: _flash_backward(op, F16, 64)),
    "backward bf16 128": ("flash_attention_backward", lambda op: _flash_backward(op, BF16, 128)),
    "backward fp16 128": ("flash_attention_backward", lambda op: _flash_backward(op, F16, 128)),
    "backward fp32 128": ("flash_attention_backward", lambda op: _flash_backward(op, F32, 128)),
    "adamw fp16": ("adamw", lambda op: _adamw(op, F16)),
    "adamw bf16": ("adamw", lambda op: _adamw(op, BF16)),
    "kv_write fp16": ("kv_write", _kv_write),
    "paged_decode fp16": ("paged_decode", lambda op: _paged_decode(op, F16)),
    "paged_decode bf16": ("paged_decode", lambda op: _paged_decode(op, BF16)),
    "paged_decode fp32": ("paged_decode", lambda op: _paged_decode(op, F32)),
    "split_kv fp16": ("split_kv_decode", lambda op: _split(op, F16)),
    "split_kv bf16": ("split_kv_decode", lambda op: _split(op, BF16)),
    "prefill fp16": ("paged_prefill", lambda op: _prefill(op, F16)),
    "prefill bf16": ("paged_prefill", lambda op: _prefill(op, BF16)),
    "prefill fp32": ("paged_prefill", lambda op: _prefill(op, F32)),
}

PARKED = "set aside by the assembler with most of the 255 registers free"
FULL = "four registers too few for two sums of 128 × 128; smaller tiles idle the tensor cores"
OWN = "two registers too few; without tensor cores the operands are a thread's own"
SPILLS: dict[tuple[str, str, int], tuple[int, str]] = {
    ("matmul fp32", "_matmul_kernel", 90): (8, PARKED),
    ("flash fp32 80", "_flash_attention_kernel", 80): (16, PARKED),
    ("flash fp32 128", "_flash_attention_kernel", 80): (8, PARKED),
    ("backward fp16 128", "_flash_attention_backward_kernel", 75): (8, OWN),
    ("backward fp16 128", "_flash_attention_backward_kernel", 90): (16, FULL),
    ("backward bf16 128", "_flash_attention_backward_kernel", 90): (16, FULL),
    ("backward fp32 128", "_flash_attention_backward_query_kernel", 75): (8, PARKED),
    ("backward fp32 128", "_flash_attention_backward_kernel", 80): (8, PARKED),
    ("backward fp32 128", "_flash_attention_backward_kernel", 90): (8, PARKED),
    ("paged_decode fp32", "_paged_decode_kernel", 75): (8, PARKED),
    ("prefill fp32", "_paged_prefill_kernel", 75): (16, PARKED),
    ("split_kv fp16", "_split_kv_decode_kernel", 90): (8, PARKED),
    ("split_kv bf16", "_split_kv_decode_kernel", 90): (8, PARKED),
}
"""Exceptions, by case, kernel and architecture: the most bytes that a thread may spill, and why."""
