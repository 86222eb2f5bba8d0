"""The functions of CUDA's libdevice, computed in numpy for Triton's interpreter.

`compute` takes the symbol that Triton would link, such as `__nv_tanhf`, and numpy arrays. It does
not cover the functions of Bessel but the modified ones, nor results rounded up, down or to zero.

Source: CUDA libdevice User's Guide, function descriptions.
"""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np

Array = Any  # of numpy
Function = Callable[..., Array]

_PREFIX = "__nv_"
_UNIT = NormalDist()


def compute(symbol: str, *operands: Array) -> Array:
    """Return the value of a libdevice function; its dtype may be wider than the function's.

    Raises:
        NotImplementedError: if the function is not covered.
    """
    name = symbol.removeprefix(_PREFIX)
    function = _find(name)
    if function is None:
        raise NotImplementedError(
            f"the interpreter has no {name} of libdevice; it runs where Triton compiles"
        )
    if all(one.dtype.kind == "f" for one in operands):
        operands = tuple(one.astype(np.float64) for one in operands)
    return function(*operands)


def _find(name: str) -> Function | None:
    name = name.removeprefix("fast_")
    for form in (name, name.removesuffix("f"), name.removesuffix("d")):
        if form in _FUNCTIONS:
            return _FUNCTIONS[form]
    operation, _, rounding = name.rpartition("_")
    if "2" in operation and rounding in _TO_WHOLE and "float" not in operation.partition("2")[2]:
        return _TO_WHOLE[rounding]
    if rounding != "rn":
        return None
    if "2" in operation:  # what is cast to the result's dtype is rounded to nearest
        return np.positive
    return _FUNCTIONS.get(operation[1:]) or _FUNCTIONS.get(operation.removesuffix("f"))


def _each(function: Callable[..., float]) -> Function:
    """Return a function of Python, such as `math.erf`, for arrays."""

    def apply(*operands: Array) -> Array:
        spread = np.broadcast_arrays(*operands)
        rows = zip(*(one.ravel().tolist() for one in spread), strict=True)
        return np.array([function(*row) for row in rows]).reshape(spread[0].shape)

    return apply


def _gamma(function: Callable[[float], float]) -> Callable[[float], float]:
    """Return a gamma function that has values where Python's raises."""

    def value(x: float) -> float:
        try:
            return function(x)
        except ValueError:  # a pole
            return math.nan if function is math.gamma and x else math.copysign(math.inf, x or 1.0)
        except OverflowError:
            return math.inf

    return value


def _quantile(p: float) -> float:
    if 0 < p < 1:
        return _UNIT.inv_cdf(p)
    return {0.0: -math.inf, 1.0: math.inf}.get(p, math.nan)


def _erfinv(y: float) -> float:
    return _quantile((y + 1) / 2) / math.sqrt(2)


def _erfcinv(y: float) -> float:
    return -_quantile(y / 2) / math.sqrt(2)


def _half_away(x: Array) -> Array:
    return np.copysign(np.floor(np.abs(x) + 0.5), x)


def _norm(*parts: Array) -> Array:
    return np.sqrt(sum(part * part for part in parts))


def _unsigned(x: Array) -> Array:
    return x.view(f"u{x.dtype.itemsize}")


def _width(x: Array) -> int:
    return 8 * int(x.dtype.itemsize)


def _length(x: Array) -> Array:
    """Return how many bits each number needs."""
    return _each(lambda n: int(n).bit_length())(_unsigned(x))


def _lowest(x: Array) -> Array:
    return _each(lambda n: (int(n) & -int(n)).bit_length())(_unsigned(x))


def _ones(x: Array) -> Array:
    return _each(lambda n: int(n).bit_count())(_unsigned(x))


def _reversed(x: Array) -> Array:
    width = _width(x)
    turned = [int(f"{n:0{width}b}"[::-1], 2) for n in _unsigned(x).ravel().tolist()]
    return np.array(turned, dtype=_unsigned(x).dtype).reshape(x.shape).view(x.dtype)


def _high(a: Array, b: Array) -> Array:
    """Return the upper half of a product."""
    a, b = np.broadcast_arrays(a, b)
    pairs = zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
    return np.array([(m * n) >> _width(a) for m, n in pairs], dtype=a.dtype).reshape(a.shape)


_TO_WHOLE: dict[str, Function] = {
    "rn": np.rint,
    "rz": np.trunc,
    "rd": np.floor,
    "ru": np.ceil,
}
"""What converts to whole numbers, by the way of rounding."""

_FUNCTIONS: dict[str, Function] = {
    **{
        name: getattr(np, name)
        for name in (
            "ceil copysign cos cosh exp exp2 expm1 floor fmod hypot isnan ldexp log log10 log1p "
            "log2 nextafter rint sin sinh sqrt tan tanh trunc"
        ).split()
    },
    **{f"a{name}": getattr(np, f"arc{name}") for name in "cos cosh sin sinh tan tanh".split()},
    "abs": np.abs,
    "fabs": np.abs,
    "llabs": np.abs,
    "add": np.add,
    "atan2": np.arctan2,
    "brev": _reversed,
    "brevll": _reversed,
    "cbrt": np.cbrt,
    "clz": lambda x: _width(x) - _length(x),
    "clzll": lambda x: _width(x) - _length(x),
    "cospi": lambda x: np.cos(np.pi * np.fmod(x, 2)),
    "cyl_bessel_i0": np.i0,
    "div": np.divide,
    "double_as_longlong": lambda x: x.view(np.int64),
    "erf": _each(math.erf),
    "erfc": _each(math.erfc),
    "erfcinv": _each(_erfcinv),
    "erfcx": lambda x: np.exp(x * x) * _each(math.erfc)(x),
    "erfinv": _each(_erfinv),
    "exp10": lambda x: np.power(10.0, x),
    "fdim": lambda x, y: np.maximum(x - y, 0),
    "fdividef": np.divide,
    "ffs": _lowest,
    "ffsll": _lowest,
    "finite": np.isfinite,
    "float_as_int": lambda x: x.astype(np.float32).view(np.int32),
    "float_as_uint": lambda x: x.astype(np.float32).view(np.uint32),
    "fma": lambda x, y, z: x * y + z,  # exact enough: float64
    "hadd": lambda x, y: (x.astype(np.int64) + y) >> 1,
    "ilogb": lambda x: np.frexp(x)[1] - 1,
    "int_as_float": lambda x: x.view(np.float32),
    "isfinite": np.isfinite,
    "isinf": np.isinf,
    "lgamma": _each(_gamma(math.lgamma)),
    "llrint": np.rint,
    "llround": _half_away,
    "logb": lambda x: np.frexp(x)[1] - 1.0,
    "longlong_as_double": lambda x: x.view(np.float64),
    "mul": np.multiply,
    "mul24": np.multiply,
    "mul64hi": _high,
    "mulhi": _high,
    "nearbyint": np.rint,
    "norm3d": _norm,
    "norm4d": _norm,
    "normcdf": _each(lambda x: math.erfc(-x / math.sqrt(2)) / 2),
    "normcdfinv": _each(_quantile),
    "popc": _ones,
    "popcll": _ones,
    "pow": np.power,
    "powi": lambda x, n: np.power(x.astype(np.float64), n),
    "rcbrt": lambda x: 1 / np.cbrt(x),
    "rcp": lambda x: 1 / x,
    "remainder": _each(math.remainder),
    "rhadd": lambda x, y: (x.astype(np.int64) + y + 1) >> 1,
    "rhypot": lambda x, y: 1 / np.hypot(x, y),
    "rnorm3d": lambda *parts: 1 / _norm(*parts),
    "rnorm4d": lambda *parts: 1 / _norm(*parts),
    "round": _half_away,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sad": lambda x, y, z: np.abs(x.astype(np.int64) - y) + z,
    "saturate": lambda x: np.fmin(np.fmax(x, 0), 1),
    "scalbn": np.ldexp,
    "signbit": np.signbit,
    "sinpi": lambda x: np.sin(np.pi * np.fmod(x, 2)),
    "sub": np.subtract,
    "tgamma": _each(_gamma(math.gamma)),
    "uhadd": lambda x, y: (x.astype(np.uint64) + y) >> np.uint64(1),
    "uint_as_float": lambda x: x.view(np.float32),
    "umul24": np.multiply,
    "umul64hi": _high,
    "umulhi": _high,
    "usad": lambda x, y, z: np.abs(x.astype(np.int64) - y) + z,
}
