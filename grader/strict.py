"""Converts plain values, as JSON and TOML give them, to frozen dataclasses without coercion.

By itself, cattrs makes True of "no", 5 of "5" and ("a", "b") of "ab". Here a bool is no number, a
string is no list, and an unknown key is an error; a whole number may stand for a float, as in JSON.
Whether a value makes sense is checked by each reader.
"""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum, Flag
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import cattrs
from cattrs.cols import list_structure_factory, mapping_structure_factory
from cattrs.errors import ForbiddenExtraKeysError

from grader.errors import StoreError

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]

_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "true or false",
    bytes: "bytes",
    NoneType: "nothing",
}
_NOT_FINITE = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
"""JSON (RFC 8259) has no numbers for these; they are written as strings."""


def strict_converter() -> cattrs.Converter:
    """Return a converter that refuses values of another type instead of converting them."""
    converter = cattrs.Converter(
        forbid_extra_keys=True, unstruct_collection_overrides={tuple: list}
    )
    for kind in (int, str, bool, bytes, float, Enum):  # of several bases, the nearest decides
        converter.register_structure_hook(kind, _scalar)
    converter.register_structure_hook_factory(
        _made_of(tuple, list), lambda kind: _list_hook(kind, converter)
    )
    converter.register_structure_hook_factory(
        _made_of(dict),
        lambda kind: _only(dict, "a table", mapping_structure_factory(kind, converter)),
    )
    converter.register_structure_hook_factory(
        is_dataclass,
        lambda kind: _only(dict, "a table", converter.gen_structure_attrs_fromdict(kind)),
    )
    converter.register_structure_hook_func(_is_plain_union, _plain_union)
    return converter


def json_converter() -> cattrs.Converter:
    """Return a strict converter for JSON; infinity and NaN are strings in JSON, both ways."""
    converter = strict_converter()
    converter.register_unstructure_hook(float, _express_float)
    converter.register_structure_hook(float, _read_float)
    return converter


def write_json(converter: cattrs.Converter, value: object, *, indent: int | None = None) -> str:
    """Return the JSON form of a dataclass; it can always be encoded as UTF-8."""
    text = json.dumps(
        converter.unstructure(value), indent=indent, ensure_ascii=False, allow_nan=False
    )
    # A lone surrogate that a submission printed has no UTF-8 form; `\udXXX` is its JSON escape.
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")


def read_json(converter: cattrs.Converter, kind: type[T], text: str) -> T:
    """Return the dataclass `kind` that `text` holds.

    Raises:
        StoreError: if the text is not its JSON form.
    """
    try:
        form = json.loads(text)
        if not isinstance(form, dict):
            raise StoreError(f"not a {kind.__name__}: expected an object, found {form!r:.80}")
        return converter.structure(form, kind)
    except cattrs.BaseValidationError as error:
        details = "; ".join(str(one) for one in find_mistakes(error))
        raise StoreError(f"not a {kind.__name__}: {details}") from error
    except (ValueError, RecursionError) as error:  # not JSON; numbers or nesting beyond Python's
        raise StoreError(f"not a {kind.__name__}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One thing that a strict converter refused.

    Attributes:
        path: the keys that lead to it, such as `.problem[0].points`; empty for the whole value.
        what: what was expected and found.
    """

    path: str
    what: str

    def __str__(self) -> str:
        """Return the message, the path first."""
        return f"{self.path.removeprefix('.')}: {self.what}" if self.path else self.what


def find_mistakes(error: cattrs.BaseValidationError) -> tuple[Mistake, ...]:
    """Return all mistakes, unknown keys first, because a misspelt key is also a missing one."""
    lines = cattrs.transform_error(error, path="$", format_exception=_describe)
    found = [
        Mistake(path=path.removeprefix("$"), what=what)
        for what, _, path in (line.rpartition(" @ ") for line in lines)
    ]
    return tuple(sorted(found, key=lambda one: not one.what.startswith("unknown key")))


def _describe(error: BaseException, _: type | None) -> str:
    if isinstance(error, ForbiddenExtraKeysError):
        unknown = ", ".join(repr(name) for name in sorted(error.extra_fields))
        allowed = ", ".join(sorted(field.name for field in fields(error.cl)))
        return f"unknown key {unknown}; allowed here: {allowed}"
    return "missing key" if isinstance(error, KeyError) else str(error)


def _only(kind: type, name: str, inner: Hook) -> Hook:
    """Return a hook that calls `inner` for values of one type, and refuses others."""

    def structure(value: Any, wanted: Any) -> Any:  # noqa: ANN401 - values have no types yet
        if type(value) is not kind:
            raise TypeError(f"expected {name}, found {value!r:.80}")
        return inner(value, wanted)

    return structure


def _scalar(value: Any, kind: Any) -> Any:  # noqa: ANN401 - as above
    if issubclass(kind, Enum):
        return _member(value, kind)
    if kind is float and type(value) is int and abs(value) < sys.float_info.max:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"expected {_NAMES[kind]}, found {value!r:.80}")
    return value


def _member(value: Any, kind: type[Enum]) -> Enum:  # noqa: ANN401 - as above
    if issubclass(kind, Flag) and type(value) is int:
        return kind(value)
    for member in kind:
        if type(member.value) is type(value) and member.value == value:
            return member
    allowed = ", ".join(str(member.value) for member in kind)
    raise ValueError(f"expected one of {allowed}, found {value!r:.80}")


def _list_hook(kind: Any, converter: cattrs.Converter) -> Hook:  # noqa: ANN401 - a type
    """Return the hook for a tuple or list; a value may be a list or a tuple for either."""
    made, members = get_origin(kind), get_args(kind)
    if made is list or members[1:] == (...,):
        inner = list_structure_factory(list[members[0]], converter)  # type: ignore[valid-type]
    else:
        inner = _pair_hook(members, converter)

    def structure(value: Any, _: Any) -> Any:  # noqa: ANN401 - as above
        if type(value) not in (list, tuple):
            raise TypeError(f"expected a list, found {value!r:.80}")
        return made(inner(value, list))

    return structure


def _pair_hook(members: tuple[Any, ...], converter: cattrs.Converter) -> Hook:
    """Return the hook for a tuple of a fixed length."""

    def structure(value: Any, _: Any) -> Any:  # noqa: ANN401 - as above
        if len(value) != len(members):
            raise ValueError(f"expected {len(members)} values, found {len(value)}")
        return [converter.structure(one, kind) for one, kind in zip(value, members, strict=True)]

    return structure


def _made_of(*origins: type) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) in origins


def _is_plain_union(kind: Any) -> bool:  # noqa: ANN401 - a type
    return get_origin(kind) in (Union, UnionType) and all(one in _NAMES for one in get_args(kind))


def _plain_union(value: Any, kind: Any) -> Any:  # noqa: ANN401 - as above
    kinds = get_args(kind)
    if type(value) in kinds:
        return value
    if type(value) is int and float in kinds:
        return _scalar(value, float)
    raise TypeError(f"expected {' or '.join(_NAMES[one] for one in kinds)}, found {value!r:.80}")


def _express_float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _read_float(value: Any, kind: Any) -> float:  # noqa: ANN401 - as above
    if type(value) is str and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    return float(_scalar(value, kind))
