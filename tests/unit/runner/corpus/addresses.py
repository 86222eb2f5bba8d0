"""Honest kernels about addresses: masks, offsets, block pointers and tensor descriptors."""

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def _row_mask(x, out, M, N, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    n = tl.arange(0, BLOCK)
    mask = (n < N) & (row < M)
    tl.store(out + row * N + n, tl.load(x + row * N + n, mask=mask, other=0.0) * 2, mask=mask)


def mask_of_vector_and_scalar(x):
    out = torch.zeros_like(x)
    _row_mask[(x.size(0) + 1,)](x, out, x.size(0), x.size(1), BLOCK=16)
    return out


@triton.jit
def _scalar_mask(x, out, M, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    n = tl.arange(0, BLOCK)
    tl.store(out + row * BLOCK + n, tl.load(x + row * BLOCK + n, mask=row < M, other=-1.0))


def mask_of_a_scalar_alone(x):
    out = torch.zeros(x.size(0) + 1, x.size(1))
    _scalar_mask[(x.size(0) + 1,)](x, out, x.size(0), BLOCK=x.size(1))
    return out


@triton.jit
def _broadcast_mask(x, out, M, N, BM: tl.constexpr, BN: tl.constexpr):
    m = tl.arange(0, BM)[:, None]
    n = tl.arange(0, BN)
    at = m * N + n[None, :]
    inside = (m < M) & (n < N)
    block = tl.load(x + at, inside, other=float("-inf"))
    tl.store(out + at, block, mask=(m < M) & (n < N)[None, :])


def mask_that_broadcasts(x):
    out = torch.zeros_like(x)
    _broadcast_mask[(1,)](x, out, *x.shape, BM=4, BN=8)
    return out


@triton.jit
def _row_masked_load(x, out, M, N, BM: tl.constexpr, BN: tl.constexpr):
    m, n = tl.arange(0, BM), tl.arange(0, BN)
    block = tl.load(x + m[:, None] * N + n[None, :], mask=(m < M)[:, None], other=0)
    tl.store(out + n, tl.sum(block, axis=0), mask=n < N)


def mask_narrower_than_its_block(x):
    out = torch.empty(x.size(1))
    _row_masked_load[(1,)](x, out, *x.shape, BM=4, BN=x.size(1))
    return out


@triton.jit
def _other_vector(x, fill, out, N, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    other = tl.load(fill + n)
    tl.store(out + n, tl.load(x + n, mask=n < N, other=other))


def other_that_is_a_block(x, fill):
    out = torch.empty_like(fill)
    _other_vector[(1,)](x, fill, out, x.numel(), BLOCK=fill.numel())
    return out


@triton.jit
def _wide_offsets(x, out, stride, N, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    start = x + row * stride
    n = tl.arange(0, BLOCK).to(tl.int64)
    tl.store(out + row * N + n, tl.load(start + n, n < N, 0.0), n < N)


def offsets_of_64_bits(x):
    out = torch.empty(x.shape)
    _wide_offsets[(x.size(0),)](x, out, x.stride(0), x.size(1), BLOCK=8)
    return out


@triton.jit
def _scalars(table, x, out, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    begin, end = tl.load(table + row), tl.load(table + row + 1)
    n = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for at in range(begin, end, BLOCK):
        total += tl.load(x + at + n, mask=at + n < end, other=0.0)
    tl.store(out + row, tl.sum(total))


def scalars_loaded_from_pointers(table, x):
    out = torch.empty(table.numel() - 1)
    _scalars[(table.numel() - 1,)](table, x, out, BLOCK=4)
    return out


@triton.jit
def _described(x, out, M, N, BM: tl.constexpr, BN: tl.constexpr):
    source = tl.make_tensor_descriptor(x, shape=[M, N], strides=[N, 1], block_shape=[BM, BN])
    target = tl.make_tensor_descriptor(out, shape=[M, N], strides=[N, 1], block_shape=[BM, BN])
    for at in range(0, N, BN):
        block = source.load([tl.program_id(0) * BM, at])
        target.store([tl.program_id(0) * BM, at], block * 3)


def descriptors_made_in_the_kernel(x):
    out = torch.empty_like(x)
    _described[(triton.cdiv(x.size(0), 4),)](x, out, *x.shape, BM=4, BN=8)
    return out


@triton.jit
def _host_described(source, target, BM: tl.constexpr, BN: tl.constexpr):
    at = [tl.program_id(0) * BM, tl.program_id(1) * BN]
    block = tl.load_tensor_descriptor(source, at)
    tl.store_tensor_descriptor(target, at, block + 1)


def descriptors_made_by_the_host(x):
    out = torch.empty_like(x)
    grid = (triton.cdiv(x.size(0), 4), triton.cdiv(x.size(1), 8))
    described = [TensorDescriptor(t, t.shape, t.stride(), [4, 8]) for t in (x, out)]
    _host_described[grid](*described, BM=4, BN=8)
    return out


@triton.jit
def _hinted(x, out, n, stride, BLOCK: tl.constexpr):
    stride = tl.multiple_of(stride, 1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at = tl.max_contiguous(tl.multiple_of(at, BLOCK), BLOCK)
    tl.assume(n > 0)
    value = tl.load(x + at * stride, mask=at < n, eviction_policy="evict_last")
    tl.store(out + at, value, mask=at < n, cache_modifier=".wb")


def hints_to_the_compiler(x):
    out = torch.empty(x.numel())
    _hinted[(triton.cdiv(x.numel(), 16),)](x, out, x.numel(), x.stride(0), BLOCK=16)
    return out


@triton.jit
def _by_module(x, out, BLOCK: triton.language.constexpr):
    n = triton.language.arange(0, BLOCK)
    triton.language.store(out + n, triton.language.load(x + n) + 1)


def names_by_their_module(x):
    out = torch.empty_like(x)
    _by_module[(1,)](x, out, BLOCK=x.numel())
    return out


@triton.jit
def _bytes(x, flags, out, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    keep = tl.load(flags + n)
    tl.store(out + n, tl.load(x + n, mask=keep, other=0))


def masks_loaded_from_memory(x, flags):
    out = torch.empty_like(x)
    _bytes[(1,)](x, flags, out, BLOCK=x.numel())
    return out


@triton.jit
def _grid3(out):
    z, y, x = tl.program_id(0), tl.program_id(axis=1), tl.program_id(2)
    at = (z * tl.num_programs(1) + y) * tl.num_programs(2) + x
    tl.store(out + at, at)


def grid_of_three_dimensions(shape):
    out = torch.zeros(shape.shape, dtype=torch.int32)
    _grid3[tuple(shape.shape)](out)
    return out
