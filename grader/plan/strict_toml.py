"""From a parsed TOML table to frozen dataclasses, strictly.

Takes: enumerations that the dataclasses use. Gives: `make_converter`. Does not cover: where a
mistake lies (see `plan.toml_place`).
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import cattrs


def make_converter(choices: Iterable[type[StrEnum]]) -> cattrs.Converter:
    """Return a strict converter: no coercion between types, no unknown keys.

    Args:
        choices: enumerations, written as one of their values.
    """
    converter = cattrs.Converter(forbid_extra_keys=True)

    def strict(value: Any, kind: type) -> Any:  # noqa: ANN401 - the edge where TOML becomes typed
        if type(value) is not kind:
            raise TypeError(f"expected {_kind_name(kind)}, found {value!r}")
        return value

    def number(value: Any, _: type) -> float:  # noqa: ANN401 - as above
        if type(value) not in (int, float):
            raise TypeError(f"expected a number, found {value!r}")
        return float(value)

    def choice(value: Any, kind: type[StrEnum]) -> StrEnum:  # noqa: ANN401 - as above
        allowed = [e.value for e in kind]
        if value not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}, found {value!r}")
        return kind(value)

    for kind in (int, str, bool):
        converter.register_structure_hook(kind, strict)
    converter.register_structure_hook(float, number)
    for options in choices:
        converter.register_structure_hook(options, choice)
    return converter


def _kind_name(kind: type) -> str:
    return {int: "a whole number", str: "a string", bool: "true or false"}[kind]
