"""Converts records to JSON and back; an unknown or a missing field is an error.

The JSON is plain (RFC 8259). It has no numbers for infinity and NaN, so these are written as the
strings `"Infinity"`, `"-Infinity"` and `"NaN"`.
"""

from typing import TypeVar

from cattrs.strategies import configure_tagged_union

from grader.evidence.observations import ErrorObservation, Observation, ValueObservation
from grader.strict import json_converter, read_json, write_json

T = TypeVar("T")

_CONVERTER = json_converter()
configure_tagged_union(
    Observation,
    _CONVERTER,
    tag_name="kind",
    tag_generator=lambda kind: {ValueObservation: "value", ErrorObservation: "error"}[kind],
)


def to_json(record: object, *, indent: int | None = None) -> str:
    """Return the JSON form of a record; it can always be encoded as UTF-8."""
    return write_json(_CONVERTER, record, indent=indent)


def from_json(kind: type[T], text: str) -> T:
    """Return the record of class `kind` that `text` holds.

    Raises:
        StoreError: if the text is not the JSON form of such a record.
    """
    return read_json(_CONVERTER, kind, text)
