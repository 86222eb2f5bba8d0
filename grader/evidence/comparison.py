"""Compares a reply with the oracle's value: how far apart they are, not whether that is enough.

The error of a tensor is `max |got − want| / scale`, in float64. `scale` is the largest finite
magnitude in `want` (or in each of its rows), so the bound follows the size of the output, and zeros
do not pass for small values. Entries where `want` is not finite must be equal; a NaN equals only a
NaN. Tolerances are applied in `judge`.

Two kinds of comparison have no tolerance: `exact` is bit for bit, the sign of a zero included and
the bits of a NaN not; `rounded_once` asks for the value that is nearest to the exact one.
"""

import math
import re
from collections.abc import Sequence, Sized
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import torch

from grader.assignment.steps import Beyond
from grader.errors import AuthorError
from grader.evidence.distance import HALF_UNIT, Way, scaled_errors, units_off
from grader.runner.protocol import plain


class Mismatch(StrEnum):
    """How a reply differs from what was expected, apart from rounding."""

    NONE = "none"
    KIND = "kind"
    DTYPE = "dtype"
    LENGTH = "length"
    KEYS = "keys"
    SHAPE = "shape"
    ROUNDING = "rounding"
    STATISTIC = "statistic"
    VALUE = "value"
    NOT_FINITE = "not_finite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The distance of one reply from its expected value.

    Attributes:
        mismatch: a difference that no tolerance allows; NONE if only `error` counts.
        error: scaled error, 0 for equal values, infinite after a mismatch; after ROUNDING in units
            in the last place.
        dtype: dtype name of the expected tensor; `value` for anything else.
        expected: the expected value in short, for staff, and for students in public cases.
        where: index of the worst entry, as text; empty for whole values.
        difference: how the form differs (type, length, dtype, shape), in words without values that
            a student may read of a hidden case, too.
    """

    mismatch: Mismatch
    error: float
    dtype: str
    expected: str
    got: str
    where: str = ""
    difference: str = ""


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
    rounded_once: torch.dtype | None = None,
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
        rounded_once: dtype of the reply's tensors, which must hold the float64 of `want` rounded
            once: each entry is within half a unit in the last place of it.
    """
    way = Way(exact=exact, per_row=per_row, rounded_once=rounded_once)
    return [
        replace(part, where=index + part.where)
        for index, g, w in part_pairs(got, want)
        for part in [_compare_part(g, w, way)]
    ]


def name_part(where: str, names: Sequence[str]) -> tuple[str, str]:
    """Return the name of the part of a tuple that `where` begins with, and the rest of `where`.

    The name is empty where parts have no names.
    """
    found = re.match(r"\[(\d+)\]", where)
    if found is None or int(found[1]) >= len(names):
        return "", where
    return names[int(found[1])], where[found.end() :]


MOST_WORDS = 3
"""Words of a part's name in a label that lists them."""


def labels_of_parts(label: str, parts: Sequence[str], want: Any) -> tuple[str, ...]:  # noqa: ANN401 - see compare_parts
    """Return the label of each entry of a tuple; empty if nothing names them.

    Names are given, or listed in the label itself: "causal: dq, dk and dv" are three.
    """
    if parts:
        return tuple(f"{label}, {name}" for name in parts)
    if not isinstance(want, tuple):
        return ()
    head, colon, listed = label.rpartition(": ")
    names = re.split(r", | and ", listed)
    is_list = len(names) == len(want) > 1 and all(len(n.split()) <= MOST_WORDS for n in names)
    return tuple(f"{head}{colon}{name}" for name in names) if is_list else ()


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


def _compare_part(got: Any, want: Any, way: Way) -> Comparison:  # noqa: ANN401 - see compare_parts
    if isinstance(want, torch.Tensor):
        return _compare_tensors(got, want, way)
    if isinstance(want, Beyond):
        return _beyond(want)
    if isinstance(want, list | tuple | dict):
        return _compare_collections(got, want)
    return _compare_primitives(got, want)


def _beyond(found: Beyond) -> Comparison:
    """Return the comparison that a statistic beyond its bound is."""
    text = (
        f"the {found.statistic} is {found.value:.3g} over {found.count} numbers; chance allows at "
        f"most {found.bound:.3g}"
    )
    return Comparison(
        mismatch=Mismatch.STATISTIC,
        error=math.inf,
        dtype="value",
        expected=f"at most {found.bound:.3g}",
        got=f"{found.value:.3g}",
        difference=text,
    )


def _compare_collections(got: Any, want: Any) -> Comparison:  # noqa: ANN401 - see compare_parts
    """Compare lists, tuples or dicts as wholes: empty, or of another length, or with other keys."""
    if _alike(got, want):
        return _whole(got, want, Mismatch.NONE)
    if isinstance(got, dict) and isinstance(want, dict):
        missing, more = len(want.keys() - got.keys()), len(got.keys() - want.keys())
        text = f"{missing} of its {len(want)} keys are missing, {more} are not expected"
        return _whole(got, want, Mismatch.KEYS, text)
    if isinstance(got, list | tuple) and isinstance(want, list | tuple):
        text = f"it has {_entries(got)}, not {_entries(want)}"
        found = _whole(got, want, Mismatch.LENGTH, text)
        expected, came = (f"{_entries(one)}: {brief(one)}" for one in (want, got))
        return replace(found, expected=expected, got=came)
    return _other_kind(got, want)


def _entries(value: Sized) -> str:
    return f"{len(value)} {'entry' if len(value) == 1 else 'entries'}"


def _compare_primitives(got: Any, want: Any) -> Comparison:  # noqa: ANN401 - see compare_parts
    is_number = (
        isinstance(got, torch.Tensor) and got.dim() == 0 and type(want) in (bool, int, float)
    )
    number = got.item() if is_number else got  # `len`, indexing and `math` take it as well
    want = plain(want)
    if type(number) is not type(want):
        return _other_kind(got, want)
    return _whole(number, want, Mismatch.NONE if number == want else Mismatch.VALUE)


def _whole(
    got: Any,  # noqa: ANN401 - see compare_parts
    want: Any,  # noqa: ANN401 - see compare_parts
    mismatch: Mismatch,
    difference: str = "",
) -> Comparison:
    """Return the comparison of two values that no single entry decides."""
    return Comparison(
        mismatch=mismatch,
        error=0.0 if mismatch is Mismatch.NONE else math.inf,
        dtype=_dtype(want) if isinstance(want, torch.Tensor) else "value",
        expected=brief(want),
        got=brief(got),
        difference=difference,
    )


_KINDS: tuple[tuple[Any, str], ...] = (
    (type(None), "None"),
    (torch.Tensor, "a tensor"),
    (list, "a list"),
    (tuple, "a tuple"),
    (dict, "a dict"),
    (bool, "a bool"),
    (int, "an int"),
    (float, "a float"),
    (str, "a text"),
    (torch.dtype, "a dtype"),
)


def _other_kind(got: Any, want: Any) -> Comparison:  # noqa: ANN401 - see compare_parts
    """Return the comparison of two values of different types."""
    came, wanted = (
        next((name for kind, name in _KINDS if isinstance(one, kind)), "something else")
        for one in (got, want)
    )
    return _whole(got, want, Mismatch.KIND, f"it is {came}, not {wanted}")


def dtypes_of(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - see compare_parts
    """Return the dtypes of the tensors in a value, each once, in order."""
    if isinstance(value, torch.Tensor):
        return (_dtype(value),)
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return ()
    return tuple(dict.fromkeys(dtype for part in value for dtype in dtypes_of(part)))


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


def _compare_tensors(got: Any, want: torch.Tensor, way: Way) -> Comparison:  # noqa: ANN401 - see compare_parts
    if not isinstance(got, torch.Tensor):
        return _other_kind(got, want)
    dtype = _dtype_asked_for(want, way)
    if got.dtype != dtype:
        text = f"it has dtype {_dtype(got)}, not {str(dtype).removeprefix('torch.')}"
        return _whole(got, want, Mismatch.DTYPE, text)
    if got.shape != want.shape:
        return _whole(got, want, Mismatch.SHAPE, _other_shape(got, want))
    if dtype != want.dtype:
        return _compare_rounded(got, want)
    if torch.equal(got, want) and not (way.exact and _has_zeros(want)):
        return _whole(got, want, Mismatch.NONE)  # mostly so, and the full comparison is slow
    if not want.dtype.is_floating_point:  # exactly, without conversion to floats
        wrong = got != want
        return _compare_entry(got, want, _first(wrong), Mismatch.VALUE)
    broken, relative = scaled_errors(got, want, way)
    if bool(broken.any()):
        mismatch = Mismatch.VALUE if way.exact else Mismatch.NOT_FINITE
        found = _compare_entry(got, want, _first(broken), mismatch)
        of_zero = way.exact and torch.equal(got, want)
        return replace(found, difference="a zero has the other sign") if of_zero else found
    worst = int(relative.argmax())
    return _compare_entry(got, want, worst, Mismatch.NONE, error=float(relative.flatten()[worst]))


def _dtype_asked_for(want: torch.Tensor, way: Way) -> torch.dtype:
    """Return the dtype that a reply must have.

    Raises:
        AuthorError: if the value that is to be rounded once has been rounded already.
    """
    if way.rounded_once is None or not want.dtype.is_floating_point:
        return want.dtype
    if want.dtype is not torch.float64 or way.rounded_once is torch.float64:
        raise AuthorError(
            f"`rounded_once` compares {way.rounded_once} with an oracle's value in {want.dtype}",
            hint="let the oracle compute in float64; the reply has fewer bits than that",
        )
    return way.rounded_once


def _other_shape(got: torch.Tensor, want: torch.Tensor) -> str:
    """Say which shape was expected, and where the other differs first."""
    if got.dim() != want.dim():
        return f"it has {got.dim()} dimensions, not {want.dim()}"
    sizes = zip(got.shape, want.shape, strict=True)
    first = next(number for number, (one, other) in enumerate(sizes) if one != other)
    return f"the shape is not {list(want.shape)}: dimension {first} differs"


def _has_zeros(tensor: torch.Tensor) -> bool:
    return tensor.dtype.is_floating_point and bool((tensor == 0).any())


def _compare_rounded(got: torch.Tensor, want: torch.Tensor) -> Comparison:
    """Return whether `got` holds the float64 of `want` rounded once to its own dtype."""
    off = units_off(got, want)
    right = off <= HALF_UNIT  # false for a NaN
    if bool(right.all()):
        return replace(_whole(got, want, Mismatch.NONE), dtype=_dtype(got))
    worst = _first(~right) if bool(off.isnan().any()) else int(off.argmax())
    error = float(off.flatten()[worst])
    found = _compare_entry(got, want, worst, Mismatch.ROUNDING, error=error)
    return replace(found, dtype=_dtype(got))


def rounding_text(found: Comparison) -> str:
    """Return how far a reply is off the exact value, where that was to be rounded once."""
    return (
        f"It is {found.error:.3g} units in the last place of {found.dtype} off the exact value; "
        "rounding that once is off by half a unit at most"
    )


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
