"""Cases of `stochastic_round`.

Takes: `Draw`. Gives: case makers. Does not cover: where an optimizer would use it.

Noise comes from the judge as numbers, so that every result is determined. `unbiased` asks for more
than the rule at single numbers: it is a test of statistics, with an error rate and a known failure.
"""

import math

import torch

from grader.assignment.steps import Value
from grader.author import Beyond, Call, CaseSteps, Draw, Expect, Factors, Raises, Row, case

from .inputs import LAYOUTS, laid_out
from .oracle import rounded_with

Tensor = torch.Tensor

LARGEST_Z = 5.8
"""Standard deviations that a sum may be off. A normal one is further off with a probability of
6.7e-9, of both sides together; with 3 · 8 sums in each of 3 instances that is 4.8e-7 per run."""
GROUPS = 8
PER_GROUP = 2048


def _patterns(draw: Draw, *shape: int) -> Tensor:
    """Return float32 numbers of any sign and exponent, finite, subnormal ones among them."""
    exponent = draw.integer_tensor(*shape, low=0, high=253)
    exponent[draw.uniform_tensor(*shape) < 0.2] = 0
    mantissa = draw.integer_tensor(*shape, low=0, high=2**23 - 1)
    sign = draw.integer_tensor(*shape, low=0, high=1)
    bits = (exponent << 23) + mantissa - (sign << 31)
    return bits.to(torch.int32).view(torch.float32)


def _low_bits(x: Tensor) -> Tensor:
    return x.contiguous().view(torch.int32) & 0xFFFF


def _noise(draw: Draw, *shape: int) -> Tensor:
    return draw.integer_tensor(*shape, low=0, high=65535).to(torch.int32)


@case("stochastic_round", "representable", hidden=3)
def representable(draw: Draw) -> CaseSteps:
    """What bfloat16 holds never changes, whatever the noise: zeros, inf, subnormal numbers too."""
    special = [0.0, -0.0, 1.0, -1.5, math.inf, -math.inf, 3.3895314e38, 9.1835496e-41]
    x = torch.cat([torch.tensor(special), _patterns(draw, 40).bfloat16().float()])
    for noise in (torch.full_like(x, 65535, dtype=torch.int32), _noise(draw, len(x))):
        got = yield Call("stochastic_round", x, noise)
        yield Expect(got, x.bfloat16(), label="rounded", exact=True)
        bits = yield Call("harness:bits_of", got)  # -0 equals 0, their bits do not
        yield Expect(bits, x.bfloat16().view(torch.int16), label="bits of what was rounded")
    got = yield Call("stochastic_round", x[:0].reshape(0, 3), _noise(draw, 0, 3))
    yield Expect(got, torch.empty(0, 3, dtype=torch.bfloat16), label="nothing, rounded", exact=True)


@case("stochastic_round", "threshold", public=2, hidden=3)
def threshold(draw: Draw) -> CaseSteps:
    """The least noise that rounds up, and one less; noise 0 never does, any sign and exponent."""
    shape = ((7,), (3, 5), (2, 3, 4))[draw.index % 3]
    x = _patterns(draw, *shape).transpose(0, -1)
    least = 65536 - _low_bits(x)
    for noise in (least.clamp(max=65535), least - 1, torch.zeros_like(least)):
        noise = noise.clamp(max=65535)
        got = yield Call("stochastic_round", x, noise)
        yield Expect(got, rounded_with(x, noise), label="rounded", exact=True)


@case("stochastic_round", "not_numbers", hidden=2)
def not_numbers(draw: Draw) -> CaseSteps:
    """NaN stays NaN, whatever its bits; beyond the largest number lies inf."""
    patterns = [0x7FFFFFFF, 0x7F800001, 0x7FC00000, -1, -0x7FFFFF, 0x7F7FFFFF, -0x800001]
    x = torch.tensor(draw.shuffled(patterns), dtype=torch.int32).view(torch.float32)
    for noise in (torch.full_like(x, 65535, dtype=torch.int32), _noise(draw, len(x))):
        got = yield Call("stochastic_round", x, noise)
        yield Expect(got, rounded_with(x, noise), label="rounded", exact=True)


def _unbiased(x: Tensor, got: Value, otherwise: Tensor) -> Value:
    """Return `got` if means and spreads of groups are what chance makes of the fractions.

    Of what is no neighbour of its number at all, return `otherwise`.

    With fraction p = low / 65536 a number is rounded up with probability p. In a group of n, the
    sum of (up - p) has mean 0 and variance Σ p (1 - p); with weights (p - 1/2), mean 0 and variance
    Σ p (1 - p) (p - 1/2)². Products of two groups have mean 0 and the product of their variances,
    unless the same noise was used in both. Each sum is divided by its standard deviation; it is
    normal by the central limit theorem, n being 2048.
    """
    fits = isinstance(got, Tensor) and got.shape == x.shape and got.dtype is torch.bfloat16
    if not fits:
        return otherwise
    lower = (x.view(torch.int32) & -65536).view(torch.float32)
    p = _low_bits(x).double() / 65536
    near = (got.float() == lower) | (got == rounded_with(x, torch.full_like(x, 65535).int()))
    if not bool(near.all()):
        return otherwise
    off = (got.float() != lower).double() - p
    z = off.sum(dim=1) / (p * (1 - p)).sum(dim=1).sqrt()
    # Products of neighbouring groups: mean 0 if their noise is independent.
    pairs = off * off.roll(1, dims=0)
    variance = (p * (1 - p)) * (p * (1 - p)).roll(1, dims=0)
    paired = pairs.sum(dim=1) / variance.sum(dim=1).sqrt()
    # Rounding to nearest is right on average over all fractions, and wrong at each.
    sloped = (off * (p - 0.5)).sum(dim=1) / (p * (1 - p) * (p - 0.5).square()).sum(dim=1).sqrt()
    largest = max(float(x.abs().max()) for x in (z, paired, sloped))
    if largest < LARGEST_Z:
        return got
    statistic = "largest sum of a group, in standard deviations,"
    return Beyond(statistic=statistic, value=largest, bound=LARGEST_Z, count=x.numel())


@case("stochastic_round", "unbiased", hidden=2)
def unbiased(draw: Draw) -> CaseSteps:
    """16384 numbers with independent noise: sums are right within chance, group by group.

    A right submission fails in fewer than one run in a million.
    """
    x = draw.uniform_tensor(GROUPS, PER_GROUP, low=1.0, high=2.0)
    x = x * (2.0 ** draw.integer(-9, 9)) * draw.choice((1.0, -1.0))
    noise = _noise(draw, GROUPS, PER_GROUP)
    got = yield Call("stochastic_round", x, noise)

    def want() -> Value:
        return _unbiased(x, got, rounded_with(x, noise))

    yield Expect(got, want, label="numbers rounded without bias", exact=True)


@case("stochastic_round", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Other dtypes, shapes that differ and noise out of range raise ValueError."""
    x, noise = draw.normal_tensor(2, 3), _noise(draw, 2, 3)
    large, negative = noise.clone(), noise.clone()
    large[1, 2], negative[0, 0] = 65536, -1
    bad = [
        ("float64 numbers", x.double(), noise),
        ("bfloat16 numbers", x.bfloat16(), noise),
        ("int64 noise", x, noise.long()),
        ("float32 noise", x, noise.float()),
        ("noise for one row", x, noise[:1]),
        ("noise of the other shape", x, noise.T.contiguous()),
        ("noise of 65536", x, large),
        ("negative noise", x, negative),
    ]
    for what, numbers, given in draw.shuffled(bad):
        yield Raises(Call("stochastic_round", numbers, given), "ValueError", what)


ROUNDING = Factors(
    "stochastic_round",
    {
        "shape": ((3, 5), (), (1,), (0, 3), (1025,), (2, 3, 4)),
        "view of x": LAYOUTS,
        "view of noise": (*LAYOUTS, "one number for all"),
        "numbers": ("any", "subnormal", "held by bfloat16", "NaN, inf and beyond", "near a power"),
        "noise": ("drawn", "least that rounds up", "one less", "all 0", "all 65535"),
    },
)
_NOT_FINITE = (0x7FFFFFFF, 0x7F800001, 0x7FC00000, 0x7F800000, 0x7F7FFFFF, 0x7F7F0001)


def _numbers_of(draw: Draw, row: Row) -> Tensor:
    """Return float32 numbers of both signs, as the row wants them."""
    shape, kind = row["shape"], row["numbers"]
    if kind in ("any", "held by bfloat16"):
        x = _patterns(draw, *shape)
        return x if kind == "any" else x.bfloat16().float()
    if kind == "subnormal":
        bits = draw.integer_tensor(*shape, low=0, high=0x7FFFFF)
    elif kind == "near a power":  # up to 8 below a power of two, and what lies up to 8 above
        bits = (draw.integer_tensor(*shape, low=1, high=254) << 23) + draw.integer_tensor(
            *shape, low=-8, high=8
        )
    else:
        bits = torch.tensor(_NOT_FINITE)[draw.integer_tensor(*shape, low=0, high=5)]
    sign = draw.integer_tensor(*shape, low=0, high=1)
    return (bits - (sign << 31)).to(torch.int32).view(torch.float32)


def _noise_of(draw: Draw, row: Row, x: Tensor) -> Tensor:
    least = (65536 - _low_bits(x)).clamp(max=65535)
    noise = {
        "drawn": _noise(draw, *x.shape),
        "least that rounds up": least,
        "one less": least - 1,
        "all 0": torch.zeros_like(least),
        "all 65535": torch.full_like(least, 65535),
    }[row["noise"]]
    if row["view of noise"] != "one number for all":
        return laid_out(noise, row["view of noise"])
    return noise.reshape(-1)[:1].reshape(()).expand(x.shape) if noise.numel() else noise


@case("stochastic_round", "combinations", public=2, hidden=4, factors=ROUNDING)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: shapes, strides of numbers and noise, kinds of numbers, least noise."""
    x = _numbers_of(draw, row)
    noise = _noise_of(draw, row, x)
    got = yield Call("stochastic_round", laid_out(x, row["view of x"]), noise)
    yield Expect(got, rounded_with(x, noise.contiguous()), label="rounded", exact=True)
