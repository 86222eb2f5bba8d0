"""Records to JSON and back, strictly: an unknown or missing field is an error, never lost.

Takes: a record or its JSON. Gives: the other. Does not cover: files (see `record.store`).
"""

import json
from typing import TypeVar

import cattrs
from cattrs.strategies import configure_tagged_union

from grader.errors import StoreError
from grader.measure.measurement import ErrorObservation, Observation, ValueObservation

T = TypeVar("T")


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(
        forbid_extra_keys=True, unstruct_collection_overrides={tuple: list}
    )
    configure_tagged_union(
        Observation,
        converter,
        tag_name="kind",
        tag_generator=lambda kind: {ValueObservation: "value", ErrorObservation: "error"}[kind],
    )
    return converter


_CONVERTER = _make_converter()


def to_json(record: object, *, indent: int | None = None) -> str:
    """Return the JSON form of a record; `Infinity` and `NaN` stand for themselves."""
    return json.dumps(_CONVERTER.unstructure(record), indent=indent, ensure_ascii=False)


def from_json(kind: type[T], text: str) -> T:
    """Return the record of class `kind` that `text` holds.

    Raises:
        StoreError: if the text is not the JSON form of such a record.
    """
    try:
        return _CONVERTER.structure(json.loads(text), kind)
    except (json.JSONDecodeError, cattrs.BaseValidationError) as error:
        details = (
            "; ".join(cattrs.transform_error(error))
            if isinstance(error, cattrs.BaseValidationError)
            else str(error)
        )
        raise StoreError(f"not a {kind.__name__}: {details}") from error
