"""Honest kernels about programs: loops, branches, functions, constants, tuning and atomics."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

BLOCK = tl.constexpr(16)
LOG2E = tl.constexpr(1.4426950408889634)


class Range(NamedTuple):
    """First number and one past the last one."""

    first: int
    end: int


@triton.jit
def _loops(x, out, n, STEP: tl.constexpr):
    at = tl.arange(0, STEP)
    total = tl.zeros([STEP], tl.float32)
    for i in tl.range(0, tl.cdiv(n, STEP), num_stages=2):
        row = i.to(tl.int64) * STEP
        total += tl.load(x + row + at, mask=row + at < n, other=0.0)
    for i in range(0, n, STEP):
        total += i.to(tl.float32) * 0  # type: ignore[attr-defined]
    for i in tl.static_range(4):
        total += i
    for _ in tl.range(n, step=STEP):
        total += 1
    for i in tl.static_range(0, 8, 2):
        if i % 4 == 0:
            total -= i
    tl.store(out, tl.sum(total))


def loops(x):
    out = torch.empty(1)
    _loops[(1,)](x, out, x.numel(), STEP=8)
    return out


@triton.jit
def _bisect(table, wanted, out, n):
    target = tl.load(wanted + tl.program_id(0))
    low = 0
    high = n
    while low < high:
        middle = (low + high) // 2
        if tl.load(table + middle) < target:
            low = middle + 1
        else:
            high = middle
    tl.store(out + tl.program_id(0), low)


def while_loops(table, wanted):
    out = torch.empty(wanted.numel(), dtype=torch.int32)
    _bisect[(wanted.numel(),)](table, wanted, out, table.numel())
    return out


@triton.jit
def _branches(x, out, n, SIDE: tl.constexpr, KIND: tl.constexpr):
    at = tl.program_id(0)
    v = tl.load(x + at)
    if at < n - 1:
        if v > 0 and not at == 0:  # noqa: SIM201 - it asks `not` of a tensor
            y = v * 2
        elif v < -1:
            y = -v
        else:
            y = v
        if SIDE is not None and KIND == "double":
            y = y * 2
        y = y + 1 if at % 2 == 0 else y - 1
    else:
        y = 0.0
    tl.store(out + at, y)


def branches(x):
    out = torch.empty_like(x)
    _branches[(x.numel(),)](x, out, x.numel(), SIDE=3, KIND="double")
    return out


@triton.jit
def _two(x, y):
    return x + y, x - y


@triton.jit
def _power(x, EXPONENT: tl.constexpr):
    if EXPONENT == 0:  # noqa: SIM108 - the other branch would never end
        power = tl.zeros_like(x) + 1
    else:
        power = x * _power(x, EXPONENT - 1)
    return power


@triton.jit
def _first_or(x, fallback=3.0):
    both, _ = _two(x, fallback)
    return both


@triton.jit
def _calls(x, out, N: tl.constexpr):
    n = tl.arange(0, N)
    v = tl.load(x + n)
    plus, minus = _two(v, y=1.0)
    pair = (plus, minus)
    tl.store(out + n, pair[0] * pair[1] + _power(v, 3) + _first_or(v))


def functions_that_call_functions(x):
    out = torch.empty_like(x)
    _calls[(1,)](x, out, N=x.numel())
    return out


@triton.jit
def _gelu(x):
    return 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))


@triton.jit
def _square(x):
    return x * x


@triton.jit
def _activated(x, out, ACTIVATION: tl.constexpr, N: tl.constexpr):
    n = tl.arange(0, N)
    tl.store(out + n, ACTIVATION(tl.load(x + n)))


def functions_as_constants(x):
    outs = torch.empty_like(x), torch.empty_like(x)
    for function, out in zip((_gelu, _square), outs, strict=True):
        _activated[(1,)](x, out, ACTIVATION=function, N=x.numel())
    return outs


@triton.jit
def _constants(x, out, n, EVEN: tl.constexpr, SHAPE: tl.constexpr):
    HALF: tl.constexpr = BLOCK // 2
    tl.static_assert(HALF * 2 == BLOCK, "blocks are even")
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    if EVEN:  # noqa: SIM108 - of constants
        v = tl.load(x + at)
    else:
        v = tl.load(x + at, mask=inside)
    rows: tl.constexpr = SHAPE[0]
    v = tl.reshape(tl.reshape(v, SHAPE), (rows * SHAPE[1],))
    tl.store(out + at, tl.exp2(v * LOG2E) * HALF, mask=inside)


def constants(x):
    out = torch.empty_like(x)
    n = x.numel()
    _constants[(triton.cdiv(n, 16),)](x, out, n, EVEN=n % 16 == 0, SHAPE=(4, 4))
    return out


@triton.autotune(
    configs=[
        triton.Config({"TILE": 32}, num_warps=2, num_stages=2),
        triton.Config({"TILE": 64}, num_warps=4, pre_hook=None),
    ],
    key=["n"],
    prune_configs_by={"early_config_prune": lambda configs, _, **__: configs[:1]},
    reset_to_zero=["out"],
)
@triton.heuristics({"EVEN": lambda args: args["n"] % args["TILE"] == 0})
@triton.jit
def _tuned(x, out, n, TILE: tl.constexpr, EVEN: tl.constexpr):
    at = tl.program_id(0) * TILE + tl.arange(0, TILE)
    v = tl.load(x + at) if EVEN else tl.load(x + at, mask=at < n, other=0.0)
    tl.atomic_add(out, tl.sum(v))


def tuning(x):
    out = torch.zeros(1)
    _tuned[lambda meta: (triton.cdiv(x.numel(), meta["TILE"]),)](x, out, x.numel())
    return out


@triton.jit
def _atomics(x, index, out, best, N: tl.constexpr):
    n = tl.arange(0, N)
    v = tl.load(x + n)
    at = tl.load(index + n)
    tl.atomic_add(out + at, v, mask=at >= 0, sem="relaxed")
    tl.atomic_max(best, tl.max(v))
    tl.atomic_min(best + 1, tl.min(v))
    old = tl.atomic_xchg(best + 2, 5.0)
    tl.store(best + 3, old)


def atomics(x, index):
    out, best = torch.zeros(4), torch.zeros(4)
    _atomics[(1,)](x, index, out, best, N=x.numel())
    return out, best


@triton.jit
def _locked(x, out, lock, N: tl.constexpr):
    n = tl.arange(0, N)
    while tl.atomic_cas(lock, 0, 1) == 1:
        pass
    tl.store(out + n, tl.load(out + n) + tl.load(x + tl.program_id(0) * N + n))
    tl.debug_barrier()
    tl.atomic_xchg(lock, 0)


def locks(x):
    out, lock = torch.zeros(x.size(1)), torch.zeros(1, dtype=torch.int32)
    _locked[(x.size(0),)](x, out, lock, N=x.size(1))
    return out


@triton.jit
def _half_atomics(x, out, N: tl.constexpr):
    n = tl.arange(0, N)
    tl.atomic_add(out + n % 2, tl.load(x + n).to(out.dtype.element_ty))


def atomics_in_half(x):
    out = torch.zeros(2, dtype=torch.float16)
    _half_atomics[(1,)](x, out, N=x.numel())
    return out


@triton.jit
def _printed(x, out, N: tl.constexpr):
    n = tl.arange(0, N)
    v = tl.load(x + n)
    tl.device_print("v", v)
    print("n", n)
    tl.static_print("N", N)
    tl.device_assert(v == v, "no NaN")
    tl.store(out + n, v)


def prints_and_assertions(x):
    out = torch.empty_like(x)
    _printed[(1,)](x, out, N=x.numel())
    return out


@triton.jit
def _tuples(x, out, sizes, span, N: tl.constexpr):
    n = tl.arange(0, N)
    rows, columns = sizes
    inside = (n >= span.first) & (n < span.end)
    tl.store(out[0] + n, tl.load(x + n) * rows, mask=inside)
    tl.store(out[1] + n, tl.load(x + n) * columns, mask=inside)


def tuples_and_named_tuples(x):
    outs = torch.zeros_like(x), torch.zeros_like(x)
    _tuples[(1,)](x, outs, (2, 3), Range(1, x.numel() - 1), N=x.numel())
    return outs


@triton.jit
def _optional(x, bias, out, N: tl.constexpr):
    n = tl.arange(0, N)
    v = tl.load(x + n)
    if bias is not None:
        v += tl.load(bias + n)
    tl.store(out + n, v)


def pointers_that_are_none(x):
    outs = torch.empty_like(x), torch.empty_like(x)
    _optional[(1,)](x, None, outs[0], N=x.numel())
    _optional[(1,)](x, x, outs[1], N=x.numel())
    return outs


@triton.jit(do_not_specialize=["n"], noinline=False)
def _persistent(x, out, n, N: tl.constexpr):
    for tile in range(tl.program_id(0), tl.cdiv(n, N), tl.num_programs(0)):
        at = tile * N + tl.arange(0, N)
        if at.dtype == tl.int32:
            tl.store(out + at, tl.load(x + at, at < n) * 2, at < n)


def persistent_programs(x):
    out = torch.empty_like(x)
    _persistent[3,](x, out, x.numel(), N=4, num_warps=4, num_stages=1)
    return out


@triton.jit
def _early(x, out, n):
    at = tl.program_id(0)
    if at >= n:
        return
    tl.store(out + at, tl.load(x + at) + 1)


def early_returns(x):
    out = torch.empty_like(x)
    _early[(x.numel() + 2,)](x, out, x.numel())
    return out


@triton.jit
def _swizzled(out, M, N, GROUP: tl.constexpr):
    at = tl.program_id(0)
    row, column = tl.swizzle2d(at // N, at % N, M, N, GROUP)
    group = GROUP * N
    first = at // group * GROUP
    size = min(M - first, GROUP)
    by_hand = (first + at % group % size) * 100 + at % group // size
    tl.store(out + at, (row * 100 + column == by_hand).to(tl.int32))


def swizzled_tiles(x):
    out = torch.zeros(x.shape, dtype=torch.int32)
    _swizzled[(x.numel(),)](out, *x.shape, GROUP=2)
    return out


def make_scaled(scale):
    scale = tl.constexpr(scale)

    @triton.jit
    def scaled(x, out, N: tl.constexpr):
        n = tl.arange(0, N)
        tl.store(out + n, tl.load(x + n) * scale)

    return scaled


def kernels_made_by_functions(x):
    out = torch.empty_like(x)
    make_scaled(3)[(1,)](x, out, N=x.numel())
    return out


@triton.jit
def _softmax(x, out, n, stride, N: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * stride
    top = -float("inf")
    total = 0.0
    for begin in tl.range(0, n, N, num_stages=3):
        at = begin + tl.arange(0, N)
        v = tl.load(x + row + at, mask=at < n, other=-float("inf"))
        new = tl.maximum(top, tl.max(v, 0))
        total = total * tl.exp(top - new) + tl.sum(tl.exp(v - new), 0)
        top = new
    for begin in tl.range(0, n, N):
        at = begin + tl.arange(0, N)
        v = tl.load(x + row + at, mask=at < n, other=-float("inf"))
        tl.store(out + row + at, tl.exp(v - top) / total, mask=at < n)


def softmax_online(x):
    out = torch.empty_like(x)
    _softmax[(x.size(0),)](x, out, x.size(1), x.stride(0), N=8)
    return out
