"""How far two tensors of one shape are apart: scaled errors, or units in the last place.

Takes tensors of equal shape. Gives a distance for each entry. What form a reply has, and which
entry decides, is in `evidence.comparison`.
"""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How tensors are compared; see `compare_parts`."""

    exact: bool = False
    per_row: bool = False
    rounded_once: torch.dtype | None = None


HALF_UNIT = 0.5 * (1 + 1e-6)
"""Units in the last place by which rounding once can be off. The oracle's float64 is rounded as
well, by 2**-29 of a unit of float32, so a value halfway between two others may be rounded to
either."""


def units_off(got: torch.Tensor, want: torch.Tensor) -> torch.Tensor:
    """Return by how many units in the last place of its dtype `got` is off the float64 of `want`.

    Infinite where only one of them is beyond the largest number, 0 where both are NaN.
    Source: Goldberg, What Every Computer Scientist Should Know About Floating-Point Arithmetic
    (1991), "Relative Error and Ulps".
    """
    info = torch.finfo(got.dtype)
    g64, w64 = got.detach().to(torch.float64), want.detach()
    least, most = math.frexp(info.tiny)[1], math.frexp(info.max)[1]
    is_number = torch.isfinite(w64) & (w64 != 0)  # the others have no exponent
    exponent = torch.frexp(torch.where(is_number, w64, info.tiny))[1].clamp(least, most)
    off = (g64 - w64).abs() / (torch.pow(2.0, (exponent - 1).to(torch.float64)) * info.eps)
    overflow = info.max + math.ldexp(info.eps, most - 2)
    # Half a unit above the largest number: from here on the nearest is infinite.
    is_over = w64.abs() >= overflow
    off = torch.where(torch.isinf(g64) | is_over, math.inf, off)
    same = (g64 == w64) | (torch.isinf(g64) & is_over & (g64.sign() == w64.sign()))
    return torch.where(same | (g64.isnan() & w64.isnan()), 0.0, off)


def scaled_errors(
    got: torch.Tensor, want: torch.Tensor, way: Way
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where entries differ in a way that no tolerance allows, and the scaled errors."""
    g64, w64 = got.detach().to(torch.float64), want.detach().to(torch.float64)
    finite = torch.isfinite(w64)
    same_special = (g64 == w64) | (torch.isnan(g64) & torch.isnan(w64))
    broken = torch.where(finite, ~torch.isfinite(g64), ~same_special)
    if way.exact:
        signs_differ = (w64 == 0) & (torch.signbit(g64) != torch.signbit(w64))
        broken |= ~same_special | signs_differ
    difference = torch.where(finite, (g64 - w64).abs(), 0.0)
    return broken, difference / _scale(w64, finite, per_row=way.per_row)


def _scale(want: torch.Tensor, finite: torch.Tensor, *, per_row: bool) -> torch.Tensor:
    """Return the largest finite magnitude of `want`; 1 where everything is zero."""
    magnitude = torch.where(finite, want.abs(), 0.0)
    rows = per_row and want.dim() > 0
    scale = magnitude.amax(dim=-1, keepdim=True) if rows else magnitude.max()
    return torch.where(scale > 0, scale, 1.0)


def differing_entries(
    got: torch.Tensor, want: torch.Tensor, allowed: float, way: Way
) -> list[tuple[int, ...]]:
    """Return the indices of all entries that differ by more than `allowed` of the scale, in order.

    Both tensors have the same shape, and the dtypes that were asked for.
    """
    if got.dtype != want.dtype:
        wrong = ~(units_off(got, want) <= HALF_UNIT)
    elif not want.dtype.is_floating_point:
        wrong = got != want
    else:
        broken, relative = scaled_errors(got, want, way)
        wrong = broken | ~(relative <= allowed)
    return [tuple(index) for index in wrong.nonzero().tolist()]
