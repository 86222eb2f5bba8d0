"""Nothing is coerced: a value of another type is refused, with its path."""

import json
import math
from dataclasses import dataclass
from enum import IntFlag, StrEnum

import cattrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.strict import find_mistakes, json_converter, strict_converter


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Reasons(IntFlag):
    HEAT = 1
    POWER = 2


NO_REASON = Reasons(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    number: int
    share: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    flag: bool = False
    number: int = 0
    share: float = 0.0
    text: str = ""
    content: bytes = b""
    colour: Colour = Colour.RED
    reasons: Reasons = NO_REASON
    many: tuple[str, ...] = ()
    pair: tuple[int, str] = (0, "")
    inner: tuple[Inner, ...] = ()
    table: dict[str, float] | None = None
    either: float | bool | str = 0.0
    whole_or_text: int | str = 0


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("flag", "no", "true or false"),
        ("flag", 1, "true or false"),
        ("number", "5", "a whole number"),
        ("number", True, "a whole number"),
        ("number", 5.0, "a whole number"),
        ("share", "0.5", "a number"),
        ("share", False, "a number"),
        ("share", None, "a number"),
        ("share", 10**400, "a number"),
        ("text", 7, "a string"),
        ("text", b"7", "a string"),
        ("content", "text", "bytes"),
        ("colour", "green", "one of red, blue"),
        ("colour", 0, "one of red, blue"),
        ("reasons", "1", "one of"),
        ("reasons", True, "one of"),
        ("many", "torch", "a list"),
        ("many", {"torch": 1}, "a list"),
        ("many", ["torch", 3], "a string"),
        ("pair", [1], "2 values"),
        ("pair", ["1", "a"], "a whole number"),
        ("inner", [[]], "a table"),
        ("inner", [{"number": "3"}], "a whole number"),
        ("table", [], "a table"),
        ("table", {"a": "1"}, "a number"),
        ("either", None, "a number or true or false or a string"),
        ("whole_or_text", True, "a whole number or a string"),
    ],
)
@pytest.mark.parametrize("converter", [strict_converter(), json_converter()], ids=["any", "json"])
def test_nothing_is_coerced(converter, key, value, expected):
    with pytest.raises(cattrs.BaseValidationError) as caught:
        converter.structure({key: value}, Everything)
    (mistake,) = find_mistakes(caught.value)
    assert str(mistake).startswith(key)
    assert f"expected {expected}" in mistake.what


@pytest.mark.parametrize("value", [None, 3, "x", [], [("number", 1)]])
def test_a_dataclass_is_a_table(value):
    with pytest.raises(TypeError, match="expected a table"):
        strict_converter().structure(value, Inner)


def test_a_whole_number_may_stand_for_a_float():
    found = strict_converter().structure({"share": 2, "either": 3, "table": {"a": 1}}, Everything)
    assert found.table is not None
    for number in (found.share, found.either, found.table["a"]):
        assert type(number) is float
    assert found.reasons is Reasons(0)


@pytest.mark.parametrize("word", ["Infinity", "-Infinity", "NaN"])
def test_only_json_has_strings_for_infinity_and_nan(word):
    found = json_converter().structure({"share": word}, Everything)
    assert not math.isfinite(found.share)
    with pytest.raises(cattrs.BaseValidationError):
        strict_converter().structure({"share": word}, Everything)


def test_every_mistake_has_its_path_and_an_unknown_key_comes_first():
    form = {"number": "1", "inner": [{"number": 1}, {"nomber": 1}], "table": {"a": "b"}}
    with pytest.raises(cattrs.BaseValidationError) as caught:
        strict_converter().structure(form, Everything)
    assert [str(one) for one in find_mistakes(caught.value)] == [
        "inner[1]: unknown key 'nomber'; allowed here: number, share",
        "number: expected a whole number, found '1'",
        "inner[1].number: missing key",
        "table['a']: expected a number, found 'b'",
    ]


@given(
    st.builds(
        Everything,
        content=st.just(b""),
        share=st.floats(allow_nan=False),
        either=st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.booleans()),
        reasons=st.sampled_from(Reasons),
        table=st.none() | st.dictionaries(st.text(), st.floats(allow_nan=False)),
        inner=st.lists(st.builds(Inner, share=st.floats(allow_nan=False))).map(tuple),
    )
)
def test_a_record_survives_json(record):
    converter = json_converter()
    form = converter.unstructure(record)
    del form["content"]  # JSON has no bytes
    text = json.dumps(form, allow_nan=False)
    assert converter.structure(json.loads(text), Everything) == record
