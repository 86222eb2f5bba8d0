"""Honest kernels about whole blocks: reductions, scans, products, sorting and shapes."""

import torch
import triton
import triton.language as tl


@triton.jit
def _reduced(x, out, where, M: tl.constexpr, N: tl.constexpr):
    m, n = tl.arange(0, M), tl.arange(0, N)
    v = tl.load(x + m[:, None] * N + n[None, :])
    top, index = tl.max(v, axis=1, return_indices=True)
    tl.store(out + m, top - tl.min(v, 1) + tl.sum(v, axis=-1))
    tl.store(where + m, index + tl.argmin(v, axis=1))
    kept = tl.sum(v, axis=1, keep_dims=True)
    tl.store(out + M + m[:, None], kept + tl.max(v))


def reductions(x):
    out, where = x.new_empty(2, x.size(0)), x.new_empty(x.size(0)).int()
    _reduced[(1,)](x, out, where, M=x.size(0), N=x.size(1))
    return out, where


@triton.jit
def _product(a, b):
    return a * b


@triton.jit
def _welford(mean, m2, count, other_mean, other_m2, other_count):
    total = count + other_count
    delta = other_mean - mean
    share = tl.where(total == 0, 0.0, other_count / total)
    return mean + delta * share, m2 + other_m2 + delta * delta * count * share, total


@triton.jit
def _custom(x, out, M: tl.constexpr, N: tl.constexpr):
    m, n = tl.arange(0, M), tl.arange(0, N)
    v = tl.load(x + m[:, None] * N + n[None, :])
    zeros = tl.zeros_like(v)
    mean, m2, _ = tl.reduce((v, zeros, zeros + 1), 1, _welford)
    tl.store(out + m, mean)
    tl.store(out + M + m, m2 / N)
    tl.store(out + 2 * M + m, tl.reduce(v, axis=1, combine_fn=_product))


def reductions_of_ones_own(x):
    out = x.new_empty(3, x.size(0))
    _custom[(1,)](x, out, M=x.size(0), N=x.size(1))
    return out


@triton.jit
def _linear(a, b, c, d):
    return a * c, b * c + d


@triton.jit
def _scanned(x, out, M: tl.constexpr, N: tl.constexpr):
    m, n = tl.arange(0, M), tl.arange(0, N)
    at = m[:, None] * N + n[None, :]
    v = tl.load(x + at)
    tl.store(out + at, tl.cumsum(v, axis=1))
    tl.store(out + M * N + at, tl.cumsum(v, 1, reverse=True))
    decay = tl.zeros_like(v) + 0.5
    _, state = tl.associative_scan((decay, v), 1, _linear)
    tl.store(out + 2 * M * N + at, state)
    tl.store(out + 3 * M * N + at, tl.cumprod(v, axis=0))


def scans(x):
    out = x.new_empty(4, *x.shape)
    _scanned[(1,)](x, out, M=x.size(0), N=x.size(1))
    return out


@triton.jit
def _long(x, out, N: tl.constexpr):
    n = tl.arange(0, N)
    v = tl.load(x + n)
    tl.store(out, tl.reduce(v, 0, _largest))
    tl.store(out + 1 + n, tl.associative_scan(v, 0, _largest))


@triton.jit
def _largest(a, b):
    return tl.where(a > b, a, b)


def long_reductions_of_ones_own(x):
    out = x.new_empty(x.numel() + 1)
    _long[(1,)](x, out, N=x.numel())
    return out


@triton.jit
def _all_nan(x, out, N: tl.constexpr):
    v = tl.load(x + tl.arange(0, N))
    tl.store(out, tl.max(v))
    tl.store(out + 1, tl.argmax(v, axis=0) * 0.0)
    tl.store(out + 2, tl.maximum(tl.max(v), 1.0))


def reductions_of_nothing_but_nan(x):
    out = x.new_empty(3)
    _all_nan[(1,)](x, out, N=x.numel())
    return out


@triton.jit
def _dot(a, b, c, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr):
    m, n, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    left = tl.load(a + m[:, None] * K + k[None, :])
    right = tl.load(b + k[:, None] * N + n[None, :])
    acc = tl.zeros((M, N), dtype=tl.float32)
    acc = tl.dot(left, right, acc, input_precision=PRECISION)
    acc += tl.dot(left, right, input_precision=PRECISION, out_dtype=tl.float32)
    tl.store(c + m[:, None] * N + n[None, :], acc)


def products(a, b):
    c = torch.empty(a.size(0), b.size(1))
    _dot[(1,)](a, b, c, M=a.size(0), N=b.size(1), K=a.size(1), PRECISION="ieee")
    return c


def products_in_bfloat16(a, b):
    return products(a, b)


def products_in_half(a, b):
    return products(a, b)


def products_in_tf32(a, b):
    c = torch.empty(a.size(0), b.size(1))
    _dot[(1,)](a, b, c, M=a.size(0), N=b.size(1), K=a.size(1), PRECISION="tf32")
    return c


@triton.jit
def _batched(a, b, c, B: tl.constexpr, S: tl.constexpr):
    z, m, n = tl.arange(0, B), tl.arange(0, S), tl.arange(0, S)
    at = z[:, None, None] * S * S + m[None, :, None] * S + n[None, None, :]
    left, right = tl.load(a + at), tl.load(b + at)
    tl.store(c + at, tl.dot(left, tl.trans(right, (0, 2, 1)), input_precision="ieee"))


def products_of_three_dimensions(a, b):
    c = torch.empty_like(a)
    _batched[(1,)](a, b, c, B=a.size(0), S=a.size(1))
    return c


@triton.jit
def _small(a, b, c, K: tl.constexpr):
    k = tl.arange(0, K)
    left = tl.load(a + k[:, None] * K + k[None, :])
    right = tl.load(b + k[:, None] * K + k[None, :])
    product = tl.sum(left[:, :, None] * right[None, :, :], axis=1)
    tl.store(c + k[:, None] * K + k[None, :], product)


def products_without_dot(a, b):
    c = torch.empty_like(a)
    _small[(1,)](a, b, c, K=a.size(0))
    return c


@triton.jit
def _sorted(x, out, M: tl.constexpr, N: tl.constexpr):
    m, n = tl.arange(0, M), tl.arange(0, N)
    at = m[:, None] * N + n[None, :]
    v = tl.load(x + at)
    tl.store(out + at, tl.sort(v, descending=True))
    tl.store(out + M * N + at, tl.flip(v, 1))
    tl.store(out + 2 * M * N + at, tl.flip(tl.sort(v)))


def sorting(x):
    out = x.new_empty(3, *x.shape)
    _sorted[(1,)](x, out, M=x.size(0), N=x.size(1))
    return out


@triton.jit
def _top(x, out, N: tl.constexpr, K: tl.constexpr):
    tl.store(out + tl.arange(0, K), tl.topk(tl.load(x + tl.arange(0, N)), K))


def top_k(x):
    out = x.new_empty(4)
    _top[(1,)](x, out, N=x.numel(), K=4)
    return out


@triton.jit
def _shapes(x, out, N: tl.constexpr):
    n = tl.arange(0, N)
    v = tl.load(x + n)
    square = tl.reshape(v, (N // 4, 4))
    tl.store(out + n, tl.reshape(tl.trans(square), (N,)))
    even, odd = tl.split(tl.reshape(v, (N // 2, 2)))
    tl.store(out + N + n, tl.interleave(odd, even))
    tl.store(out + 2 * N + n, tl.ravel(tl.join(even, odd)))
    half = tl.arange(0, N // 2)
    tl.store(out + 3 * N + half, tl.sum(tl.broadcast_to(odd[:, None], (N // 2, 8)), 1))
    wide = tl.permute(tl.expand_dims(square, 0), (2, 0, 1))
    tl.store(out + 3 * N + N // 2 + half, tl.sum(tl.view(wide, (N // 2, 2)), axis=1))


def shapes_of_blocks(x):
    out = x.new_empty(4, x.numel())
    _shapes[(1,)](x, out, N=x.numel())
    return out


@triton.jit
def _gathered(x, index, out, bins, N: tl.constexpr):
    n = tl.arange(0, N)
    at = tl.load(index + n)
    tl.store(out + n, tl.gather(tl.load(x + n), at, axis=0))
    tl.store(bins + n, tl.histogram(at, N))


def gather_and_histogram(x, index):
    out, bins = torch.empty_like(x), torch.empty_like(index)
    _gathered[(1,)](x, index, out, bins, N=x.numel())
    return out, bins


@triton.jit
def _xor(x, out, N: tl.constexpr):
    v = tl.load(x + tl.arange(0, N))
    tl.store(out, tl.xor_sum(v, axis=0))
    tl.store(out + 1, tl.reduce_or(v, axis=0))


def reductions_of_bits(x):
    out = x.new_empty(2)
    _xor[(1,)](x, out, N=x.numel())
    return out
