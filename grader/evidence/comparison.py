"""Compares a reply with the oracle's value: how far apart they are, not whether that is enough.

The error of a tensor is `max |got − want| / scale`, in float64. `scale` is the largest finite
magnitude in `want` (or in each of its rows), so the bound follows the size of the output, and zeros
do not pass for small values. Entries where `want` is not finite must be equal; a NaN equals only a
NaN. Tolerances are applied in `judge`.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import torch


class Mismatch(StrEnum):
    """How a reply differs from what was expected, apart from rounding."""

    NONE = "none"
    KIND = "kind"
    DTYPE = "dtype"
    SHAPE = "shape"
    VALUE = "value"
    NOT_FINITE = "not_finite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The distance of one reply from its expected value.

    Attributes:
        mismatch: a difference that no tolerance allows; NONE if only `error` counts.
        error: scaled error, 0 for equal values, infinite after a mismatch.
        dtype: dtype name of the expected tensor; `value` for anything else.
        expected: the expected value in short, for staff, and for students in public cases.
        where: index of the worst entry, as text; empty for whole values.
    """

    mismatch: Mismatch
    error: float
    dtype: str
    expected: str
    got: str
    where: str = ""


def use_one_thread() -> None:
    """Let torch use one thread in the judge.

    Oracles work on small tensors, for several submissions at a time; more threads would only wait
    for one another.
    """
    torch.set_num_threads(1)


def compare_parts(
    got: Any,  # noqa: ANN401 - replies are of any JSON or tensor type
    want: Any,  # noqa: ANN401 - as above
    *,
    exact: bool = False,
    per_row: bool = False,
) -> list[Comparison]:
    """Measure how far each part of `got` is from its part of `want`; at least one comparison.

    Parts are kept apart because each dtype has its own tolerance: an error that is large for
    float32 may be smaller than one that is small for bfloat16.

    Args:
        got: a reply: tensor, primitive, or list, tuple or dict of them. Where `want` is a number, a
            tensor without dimensions is one as well; where `want` is a tensor, a number is none.
        want: the oracle's value, of the same form.
        exact: compare tensors bit for bit; a NaN equals a NaN at the same index.
        per_row: take the scale from each row of the last dimension.
    """
    return [
        replace(part, where=index + part.where)
        for index, g, w in part_pairs(got, want)
        for part in [_compare_part(g, w, exact=exact, per_row=per_row)]
    ]


def part_pairs(
    got: Any,  # noqa: ANN401 - see compare_parts
    want: Any,  # noqa: ANN401 - see compare_parts
    index: str = "",
) -> list[tuple[str, Any, Any]]:
    """Return (index, got, want) of each part that is compared on its own; at least one."""
    items: list[tuple[str, Any, Any]] = []
    if _alike(got, want) and isinstance(want, dict):
        items = [(f"[{key!r}]", got[key], want[key]) for key in want]
    elif _alike(got, want):
        items = [(f"[{i}]", g, w) for i, (g, w) in enumerate(zip(got, want, strict=True))]
    return [pair for key, g, w in items for pair in part_pairs(g, w, index + key)] or [
        (index, got, want)
    ]


def _alike(got: Any, want: Any) -> bool:  # noqa: ANN401 - see compare_parts
    """Return whether both are lists or tuples of equal length, or dicts with the same keys."""
    if isinstance(want, dict):
        return isinstance(got, dict) and got.keys() == want.keys()
    return (
        isinstance(want, list | tuple) and isinstance(got, list | tuple) and len(got) == len(want)
    )


def _compare_part(got: Any, want: Any, *, exact: bool, per_row: bool) -> Comparison:  # noqa: ANN401 - see compare_parts
    if isinstance(want, torch.Tensor):
        return _compare_tensors(got, want, exact=exact, per_row=per_row)
    if isinstance(want, list | tuple | dict):
        return _whole(got, want, Mismatch.NONE if _alike(got, want) else Mismatch.KIND)
    return _compare_primitives(got, want)


def _compare_primitives(got: Any, want: Any) -> Comparison:  # noqa: ANN401 - see compare_parts
    is_number = (
        isinstance(got, torch.Tensor) and got.dim() == 0 and type(want) in (bool, int, float)
    )
    number = got.item() if is_number else got  # `len`, indexing and `math` take it as well
    if type(number) is not type(want):
        return _whole(got, want, Mismatch.KIND)
    return _whole(number, want, Mismatch.NONE if number == want else Mismatch.VALUE)


def _whole(got: Any, want: Any, mismatch: Mismatch) -> Comparison:  # noqa: ANN401 - see compare_parts
    """Return the comparison of two values that no single entry decides."""
    return Comparison(
        mismatch=mismatch,
        error=0.0 if mismatch is Mismatch.NONE else math.inf,
        dtype=_dtype(want) if isinstance(want, torch.Tensor) else "value",
        expected=brief(want),
        got=brief(got),
    )


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def brief(value: Any, limit: int = 160) -> str:  # noqa: ANN401 - see compare_parts
    """Return a short text for a value: tensors by dtype, shape and first entries."""
    if isinstance(value, torch.Tensor):
        head = value.detach().flatten()[:6].tolist()
        entries = ", ".join(f"{entry:.6g}" for entry in head)
        more = ", …" if value.numel() > len(head) else ""
        return f"{_dtype(value)}{list(value.shape)} [{entries}{more}]"
    if isinstance(value, list | tuple):
        inner = ", ".join(brief(item, 40) for item in value[:6])
        text = f"[{inner}{', …' if len(value) > 6 else ''}]"
    else:
        text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _compare_tensors(got: Any, want: torch.Tensor, *, exact: bool, per_row: bool) -> Comparison:  # noqa: ANN401 - see compare_parts
    if not isinstance(got, torch.Tensor):
        return _whole(got, want, Mismatch.KIND)
    if got.dtype != want.dtype:
        return _whole(got, want, Mismatch.DTYPE)
    if got.shape != want.shape:
        return _whole(got, want, Mismatch.SHAPE)
    if torch.equal(got, want):  # mostly so, and the full comparison is slow
        return _whole(got, want, Mismatch.NONE)
    if not want.dtype.is_floating_point:  # exactly, without conversion to floats
        return _compare_entry(got, want, _first(got != want), Mismatch.VALUE)
    broken, relative = _errors(got, want, exact=exact, per_row=per_row)
    if bool(broken.any()):
        mismatch = Mismatch.VALUE if exact else Mismatch.NOT_FINITE
        return _compare_entry(got, want, _first(broken), mismatch)
    worst = int(relative.argmax())
    return _compare_entry(got, want, worst, Mismatch.NONE, error=float(relative.flatten()[worst]))


def differing_entries(
    got: torch.Tensor, want: torch.Tensor, allowed: float, *, exact: bool, per_row: bool
) -> list[tuple[int, ...]]:
    """Return the indices of all entries that differ by more than `allowed` of the scale, in order.

    Both tensors have the same dtype and shape.
    """
    if not want.dtype.is_floating_point:
        wrong = got != want
    else:
        broken, relative = _errors(got, want, exact=exact, per_row=per_row)
        wrong = broken | ~(relative <= allowed)
    return [tuple(index) for index in wrong.nonzero().tolist()]


def _errors(
    got: torch.Tensor, want: torch.Tensor, *, exact: bool, per_row: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where entries differ in a way that no tolerance allows, and the scaled errors."""
    g64, w64 = got.detach().to(torch.float64), want.detach().to(torch.float64)
    finite = torch.isfinite(w64)
    same_special = (g64 == w64) | (torch.isnan(g64) & torch.isnan(w64))
    broken = torch.where(finite, ~torch.isfinite(g64), ~same_special)
    if exact:
        broken |= ~same_special
    difference = torch.where(finite, (g64 - w64).abs(), 0.0)
    return broken, difference / _scale(w64, finite, per_row=per_row)


def _first(where: torch.Tensor) -> int:
    """Return the flat index of the first True."""
    return int(where.flatten().to(torch.int8).argmax())


def _compare_entry(
    got: torch.Tensor, want: torch.Tensor, flat: int, mismatch: Mismatch, error: float = math.inf
) -> Comparison:
    """Return the comparison of two tensors that their worst entry, by its flat index, decides."""
    index = _index(flat, want.shape)
    return Comparison(
        mismatch=mismatch,
        error=error,
        dtype=_dtype(want),
        expected=_entry(want, index),
        got=_entry(got, index),
        where=str(list(index)),
    )


def _scale(want: torch.Tensor, finite: torch.Tensor, *, per_row: bool) -> torch.Tensor:
    """Return the largest finite magnitude of `want`; 1 where everything is zero."""
    magnitude = torch.where(finite, want.abs(), 0.0)
    rows = per_row and want.dim() > 0
    scale = magnitude.amax(dim=-1, keepdim=True) if rows else magnitude.max()
    return torch.where(scale > 0, scale, 1.0)


def _index(flat: int, shape: torch.Size) -> tuple[int, ...]:
    """Return the index of an entry; `torch.unravel_index` takes half a second to import."""
    index: list[int] = []
    for size in reversed(shape):
        index.append(flat % size)
        flat //= size
    return tuple(reversed(index))


def _entry(tensor: torch.Tensor, index: tuple[int, ...]) -> str:
    value = tensor[index].item()
    return f"{value:.9g}" if isinstance(value, float) else str(value)
