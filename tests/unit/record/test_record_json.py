"""Records survive JSON, strictly: nothing is lost, nothing unknown gets in."""

import dataclasses
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.errors import StoreError
from grader.evidence.comparison import Comparison, Mismatch
from grader.evidence.observations import CaseMeasurement, ValueObservation
from grader.record.grade_record import GradeRecord, from_json, to_json
from tests.unit.report.samples import (
    EVERY_VERDICT,
    make_advice,
    make_files,
    make_judgement,
    make_notebook_record,
    make_record,
    make_rejected_record,
)


def refuse(constant):
    raise AssertionError(f"a bare {constant} is no JSON")


def strictly(text):
    return json.loads(text, parse_constant=refuse)


def comparison(error):
    return Comparison(
        mismatch=Mismatch.NONE, error=error, dtype="float32", expected="1", got="2", where="[0]"
    )


def record_with_error(error):
    record = make_record()
    (problem, *others) = record.measurement.problems
    case = replace(
        problem.cases[0],
        observations=(ValueObservation(label="keys", comparison=comparison(error)),),
    )
    problems = (replace(problem, cases=(case,)), *others)
    return replace(record, measurement=replace(record.measurement, problems=problems))


@pytest.mark.parametrize(
    "record",
    [
        make_record(),
        make_record(judgement=make_judgement(*EVERY_VERDICT)),
        make_notebook_record(),
        make_rejected_record(),
        replace(make_record(), advice=make_advice()),
    ],
    ids=["passed", "every verdict", "notebook", "rejected", "advice"],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_whole_record_comes_back_equal(record, indent):
    text = to_json(record, indent=indent)
    assert from_json(GradeRecord, text) == record
    assert strictly(text)["plan"]["seed"] == record.plan.seed


@pytest.mark.parametrize(
    ("error", "word"), [(math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN")]
)
def test_numbers_that_json_lacks_are_written_as_strings(error, word):
    record = record_with_error(error)
    text = to_json(record)
    case = strictly(text)["measurement"]["problems"][0]["cases"][0]
    assert case["observations"][0]["comparison"]["error"] == word
    back = from_json(GradeRecord, text)
    (observation,) = back.measurement.problems[0].cases[0].observations
    assert isinstance(observation, ValueObservation)
    assert type(observation.comparison.error) is float
    assert str(observation.comparison.error) == str(error)
    if error == error:
        assert back == record


@given(st.floats(allow_nan=False), st.text(), st.text())
def test_any_number_and_any_text_come_back(error, expected, got):
    case = CaseMeasurement(
        check="c",
        index=0,
        public=True,
        observations=(
            ValueObservation(
                label="x", comparison=replace(comparison(error), expected=expected, got=got)
            ),
        ),
        faults=(),
        calls=1,
        wall_ns=1,
    )
    text = to_json(case)
    strictly(text)
    assert from_json(CaseMeasurement, text) == case


def test_a_lone_surrogate_does_not_stop_the_record():
    record = make_record(
        submission=replace(make_record().submission, files=make_files("x = '\ud800'"))
    )
    text = to_json(record)
    assert text.encode("utf-8")
    assert from_json(GradeRecord, text) == record


def test_letters_stay_readable():
    record = make_record(
        submission=replace(make_record().submission, files=make_files("# größer ≥ 日本"))
    )
    assert "größer ≥ 日本" in to_json(record)


@pytest.mark.parametrize("path", [(), ("plan",), ("measurement",), ("judgement", "checks", 0)])
def test_an_unknown_field_is_refused(path):
    form = json.loads(to_json(make_record()))
    table = form
    for key in path:
        table = table[key]
    table["surprise"] = 1
    with pytest.raises(StoreError, match="surprise"):
        from_json(GradeRecord, json.dumps(form))


LATER_FIELDS = {"advice"}
"""Fields that records made before there were any of their kind do without."""


@pytest.mark.parametrize(
    "field", sorted({field.name for field in dataclasses.fields(GradeRecord)} - LATER_FIELDS)
)
def test_a_missing_field_is_refused(field):
    form = json.loads(to_json(make_record()))
    del form[field]
    with pytest.raises(StoreError, match=field):
        from_json(GradeRecord, json.dumps(form))


def test_an_old_record_without_advice_is_read():
    form = json.loads(to_json(make_record()))
    del form["advice"]
    assert from_json(GradeRecord, json.dumps(form)) == make_record()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '"x"', '{"plan": 3}', "[" * 3, "Infinity"]
)
def test_what_is_no_record_is_refused(text):
    with pytest.raises(StoreError, match="not a GradeRecord"):
        from_json(GradeRecord, text)


@pytest.mark.parametrize("word", ["1.5", "infinity", "inf", "", True, None, []])
def test_only_numbers_and_the_three_strings_are_floats(word):
    form = json.loads(to_json(comparison(1.0)))
    form["error"] = word
    with pytest.raises(StoreError, match="error"):
        from_json(Comparison, json.dumps(form))


@pytest.mark.parametrize(
    ("key", "value"), [("public", "no"), ("index", "5"), ("check", 7), ("faults", "")]
)
def test_nothing_in_a_record_is_coerced(key, value):
    form = json.loads(to_json(make_record()))
    form["measurement"]["problems"][0]["cases"][0][key] = value
    path = rf"measurement\.problems\[0\]\.cases\[0\]\.{key}: expected"
    with pytest.raises(StoreError, match=path):
        from_json(GradeRecord, json.dumps(form))


def test_an_unknown_kind_of_observation_is_refused():
    form = json.loads(to_json(make_record()))
    form["measurement"]["problems"][0]["cases"][0]["observations"][0]["kind"] = "other"
    with pytest.raises(StoreError, match="observations"):
        from_json(GradeRecord, json.dumps(form))
