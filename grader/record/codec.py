"""Converts records to JSON and back; an unknown or a missing field is an error.

The JSON is plain (RFC 8259). It has no numbers for infinity and NaN, so these are written as the
strings `"Infinity"`, `"-Infinity"` and `"NaN"`.
"""

import json
import re
from typing import TypeVar

import cattrs
from cattrs.strategies import configure_tagged_union

from grader.errors import StoreError
from grader.evidence.observations import ErrorObservation, Observation, ValueObservation
from grader.strict import find_mistakes, json_converter

T = TypeVar("T")

_FORMAT = re.compile(r'\s*\{\s*"schema_version":\s*(\d{1,9})\b')


_CONVERTER = json_converter()
configure_tagged_union(
    Observation,
    _CONVERTER,
    tag_name="kind",
    tag_generator=lambda kind: {ValueObservation: "value", ErrorObservation: "error"}[kind],
)


def format_of(text: str) -> int:
    """Return the format version that a record states, 0 if it states none.

    The version is the first field of the JSON, so it can be read without the rest.
    """
    found = _FORMAT.match(text)
    return int(found[1]) if found else 0


def to_json(record: object, *, indent: int | None = None) -> str:
    """Return the JSON form of a record; it can always be encoded as UTF-8."""
    text = json.dumps(
        _CONVERTER.unstructure(record), indent=indent, ensure_ascii=False, allow_nan=False
    )
    # A lone surrogate that a submission printed has no UTF-8 form; `\udXXX` is its JSON escape.
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")


def from_json(kind: type[T], text: str) -> T:
    """Return the record of class `kind` that `text` holds.

    Raises:
        StoreError: if the text is not the JSON form of such a record.
    """
    try:
        form = json.loads(text)
        if not isinstance(form, dict):
            raise StoreError(f"not a {kind.__name__}: expected an object, found {form!r:.80}")
        return _CONVERTER.structure(form, kind)
    except cattrs.BaseValidationError as error:
        details = "; ".join(str(one) for one in find_mistakes(error))
        raise StoreError(f"not a {kind.__name__}: {details}") from error
    except (ValueError, RecursionError) as error:  # not JSON; numbers or nesting beyond Python's
        raise StoreError(f"not a {kind.__name__}: {error}") from error
