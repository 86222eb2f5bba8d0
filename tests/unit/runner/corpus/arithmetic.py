"""Honest kernels about arithmetic: functions of `tl`, of `tl.math` and of libdevice, dtypes."""

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice
from triton.language.extra.cuda import libdevice as of_cuda
from triton.language.extra.libdevice import tanh as hyperbolic
from triton.language.math import rsqrt


@triton.jit
def _libdevice(x, out, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    v = tl.load(x + n)
    tl.store(out + n, libdevice.tanh(v))
    tl.store(out + BLOCK + n, libdevice.log1p(tl.abs(v)))
    tl.store(out + 2 * BLOCK + n, libdevice.pow(tl.abs(v), 3.0))
    tl.store(out + 3 * BLOCK + n, tl.extra.cuda.libdevice.expm1(v))
    tl.store(out + 4 * BLOCK + n, of_cuda.erf(v))
    tl.store(out + 5 * BLOCK + n, hyperbolic(v))
    tl.store(out + 6 * BLOCK + n, libdevice.fast_expf(v))


def functions_of_libdevice(x):
    out = x.new_empty(7, x.numel())
    _libdevice[(1,)](x, out, BLOCK=x.numel())
    return out


@triton.jit
def _rounding(x, out, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    v = tl.load(x + n)
    tl.store(out + n, libdevice.round(v))
    tl.store(out + BLOCK + n, libdevice.nearbyint(v))
    tl.store(out + 2 * BLOCK + n, libdevice.trunc(v))
    tl.store(out + 3 * BLOCK + n, libdevice.fmod(v, 1.5))
    tl.store(out + 4 * BLOCK + n, libdevice.copysign(v, -1.0))
    tl.store(out + 5 * BLOCK + n, tl.where(libdevice.isnan(v / v), 1.0, 0.0))
    tl.store(out + 6 * BLOCK + n, libdevice.float2int_rn(v).to(tl.float32))


def libdevice_that_rounds(x):
    out = x.new_empty(7, x.numel())
    _rounding[(1,)](x, out, BLOCK=x.numel())
    return out


@triton.jit
def _scalar_libdevice(x, out):
    v = tl.load(x)
    tl.store(out, libdevice.rsqrt(v) + libdevice.atan2(v, 2.0))
    tl.store(out + 1, libdevice.hypot(v, 3.0) * libdevice.fma(v, 2.0, 1.0))


def libdevice_of_a_scalar(x):
    out = torch.empty(2)
    _scalar_libdevice[(1,)](x, out)
    return out


@triton.jit
def _bits(x, out, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    v = tl.load(x + n)
    tl.store(out + n, libdevice.popc(v))
    tl.store(out + BLOCK + n, libdevice.clz(v))
    tl.store(out + 2 * BLOCK + n, libdevice.ffs(v))
    tl.store(out + 3 * BLOCK + n, libdevice.mulhi(v, v))


def libdevice_of_bits(x):
    out = x.new_empty(4, x.numel())
    _bits[(1,)](x, out, BLOCK=x.numel())
    return out


@triton.jit
def _math(x, out, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    v = tl.load(x + n)
    y = tl.math.exp2(v) + tl.exp(v) + tl.math.log2(tl.abs(v) + 1) + tl.log(tl.abs(v) + 1)
    y += tl.sin(v) + tl.cos(v) + tl.math.erf(v) + tl.sqrt(tl.abs(v)) + tl.sigmoid(v)
    y += rsqrt(tl.abs(v) + 1) + tl.math.floor(v) + tl.ceil(v) + tl.fma(v, v, v)
    y += tl.math.div_rn(v, 3.0) + tl.fdiv(v, 7.0) + tl.sqrt_rn(tl.abs(v)) + tl.clamp(v, -0.5, 0.5)
    tl.store(out + n, y)


def functions_of_math(x):
    out = torch.empty_like(x)
    _math[(1,)](x, out, BLOCK=x.numel())
    return out


@triton.jit
def _builtins(x, out, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < min(n, BLOCK), other=0.0)
    tl.store(out + at, max(v, 0.25) + min(v, tl.zeros_like(v)) + tl.abs(v))


def builtins_of_python(x):
    out = torch.empty_like(x)
    _builtins[(1,)](x, out, x.numel(), BLOCK=x.numel())
    return out


@triton.jit
def _integers(x, y, out, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    a, b = tl.load(x + n), tl.load(y + n)
    tl.store(out + n, a // b)
    tl.store(out + BLOCK + n, a % b)
    tl.store(out + 2 * BLOCK + n, (a << 2) ^ (b >> 1) | ~a & b)
    tl.store(out + 3 * BLOCK + n, tl.cdiv(tl.abs(a), tl.abs(b)) - (-a))


def integers(x, y):
    out = x.new_empty(4, x.numel())
    _integers[(1,)](x, y, out, BLOCK=x.numel())
    return out


@triton.jit
def _conditions(x, out, lo, hi, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    v = tl.load(x + n)
    both = (v > lo) and (v < hi)
    either = (v < lo) or (v > hi)
    chain = lo < v < hi
    tl.store(out + n, tl.where(both, 1, 0) + tl.where(either, 2, 0) + tl.where(not chain, 4, 0))


def conditions_of_blocks(x):
    out = torch.empty(x.numel(), dtype=torch.int32)
    _conditions[(1,)](x, out, -0.5, 0.5, BLOCK=x.numel())
    return out


@triton.jit
def _casts(x, half, brain, whole, bits, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    v = tl.load(x + n)
    tl.store(half + n, v)
    tl.store(brain + n, v.to(tl.bfloat16))
    tl.store(whole + n, (v * 10).to(tl.int32))
    tl.store(bits + n, v.to(tl.int32, bitcast=True))


def casts(x):
    half, brain = x.new_empty(x.shape, dtype=torch.float16), x.new_empty(x.shape).bfloat16()
    whole, bits = x.new_empty(x.shape).int(), x.new_empty(x.shape).int()
    _casts[(1,)](x, half, brain, whole, bits, BLOCK=x.numel())
    return half, brain, whole, bits


@triton.jit
def _brain(x, y, out, sums, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    a, b = tl.load(x + n), tl.load(y + n)
    tl.store(out + n, a + b * a - tl.where(a > b, a, -b))
    tl.store(out + BLOCK + n, tl.exp(a.to(tl.float32)) / 3)
    tl.store(out + 2 * BLOCK + n, tl.maximum(a, b) * 0.1)
    tl.store(sums, tl.sum(a.to(tl.float32)))
    tl.store(sums + 1, tl.max(a) - tl.min(b))
    tl.store(sums + 2, tl.sum(a * 0 + 1))


def arithmetic_in_bfloat16(x, y):
    out = x.new_empty(3, x.numel())
    sums = torch.empty(3)
    _brain[(1,)](x, y, out, sums, BLOCK=x.numel())
    return out, sums


@triton.jit
def _float_argument(x, out, scale, shift, flag, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    factor = scale.to(tl.float32) * 1.4426950408889634
    if flag:
        factor = factor + shift
    tl.store(out + n, tl.load(x + n) * factor)


def arguments_that_are_numbers(x):
    out = torch.empty_like(x)
    _float_argument[(1,)](x, out, 0.1, 2.5, True, BLOCK=x.numel())
    return out


@triton.jit
def _by_dtype(x, out, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    v = tl.load(x + n)
    if x.dtype.element_ty == tl.float16:
        v = v.to(tl.float32) + 1
    elif v.dtype.is_bf16():
        v = v.to(tl.float32) + 2
    tl.store(out + n, v.to(out.dtype.element_ty))


def branches_by_dtype(x, y):
    outs = torch.empty_like(x), torch.empty_like(y)
    for source, out in zip((x, y), outs, strict=True):
        _by_dtype[(1,)](source, out, BLOCK=x.numel())
    return outs


@triton.jit
def _uniform(out, seed, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    u = tl.rand(seed, n)
    tl.store(out + n, tl.where((u >= 0) & (u < 1), 1.0, 0.0) + tl.randint(seed, n) * 0)


def random_numbers(x):
    out = torch.empty_like(x)
    _uniform[(1,)](out, 7, BLOCK=x.numel())
    return out
