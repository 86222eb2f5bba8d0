"""What cases show of their factors is counted by what they read; what is missing is told."""

import json

import pytest

from grader.record.grade_record import to_json
from grader.validate.coverage import complain_of_coverage, measure_coverage
from grader.validate.rehearsal import rehearse
from tests.unit.validate.small_assignment import CASES, make_course

FACTORS = '''
from grader.author import Call, Excluded, Expect, Factors, Raises, case
import torch

DOUBLE = Factors(
    "double",
    {
        "dtype": (torch.float32, torch.float64),
        "columns": (1, 64, 65),
        "strided": (False, True),
    },
    excluded=(
        Excluded("one entry has no stride", lambda row: row["columns"] == 1 and row["strided"]),
        %s
    ),
    strength=2,
    reason="doubling is simple",
)

@case("double", "values", public=1, hidden=2, factors=DOUBLE%s)
def values(draw, row):
    """Twice the input."""
    x = draw.normal_tensor(row["columns"]).to(%s)
    if row["strided"]:
        x = x.repeat_interleave(2)[::2]
    got = yield Call("double", x)
    yield Expect(got, 2 * x, label="double(x)")

@case("double", "refuses", public=1, hidden=1)
def refuses(draw):
    """A scalar is refused."""
    yield Raises(Call("double", draw.normal_tensor()), "ValueError", label="a scalar")
'''


def coverage_of(tmp_path, cases):
    loaded = make_course(tmp_path, cases=cases)
    found = measure_coverage(loaded, rehearse(loaded).played)
    return found, list(complain_of_coverage(loaded, found))


def written(also="", where="", dtype='row["dtype"]'):
    return FACTORS % (also, where, dtype)


def test_pairs_are_counted_and_stand_in_the_json(tmp_path):
    (found,), complaints = coverage_of(tmp_path, written())
    assert complaints == []
    (pairs,) = found.counted
    assert (pairs.strength, pairs.possible, pairs.allowed, pairs.covered) == (2, 16, 15, 15)
    assert [(one.reason, one.combinations) for one in found.excluded] == [
        ("one entry has no stride", 1)
    ]
    tree = json.loads(to_json(found))
    assert tree["levels"]["dtype"] == ["float32", "float64"]
    assert (tree["checks"], tree["reason"], tree["missing"]) == (
        ["values"],
        "doubling is simple",
        [],
    )


def test_a_problem_without_factors_is_a_complaint(tmp_path):
    found, complaints = coverage_of(tmp_path, CASES)
    assert found == ()
    assert len(complaints) == 1
    assert complaints[0].startswith("double: it declares no factors")


def test_a_factor_that_is_never_read_is_an_error_of_the_author(tmp_path):
    (found,), complaints = coverage_of(tmp_path, written(dtype="torch.float32"))
    assert found.unread == ("values: dtype",)
    assert complaints == [
        "double.values: it never reads `dtype`; read it, or remove the factor",
    ]


def test_what_is_read_only_sometimes_is_missing_where_it_is_not(tmp_path):
    sometimes = 'row["dtype"] if row["strided"] else torch.float32'
    (found,), complaints = coverage_of(tmp_path, written(dtype=sometimes))
    assert "dtype float64, columns 1" in found.missing
    assert found.counted[0].covered == 15 - len(found.missing)
    assert len(complaints) == 1
    assert "double: no hidden case shows dtype float32, columns 1; dtype" in complaints[0]
    assert "Read every factor in every row" in complaints[0]


def test_a_row_that_no_check_takes_is_named_whatever_the_seed(tmp_path):
    where = ', where=lambda row: row["columns"] != 65 or row["strided"]'
    _, complaints = coverage_of(tmp_path, written(where=where))
    (said,) = [one for one in complaints if "no check takes" in one]
    assert "columns 65" in said
    assert "strided" not in said  # the usual: not strided


@pytest.mark.parametrize("rule", ['row["columns"] > 65', "False"])
def test_an_exclusion_of_nothing_is_named(tmp_path, rule):
    also = f'Excluded("too wide", lambda row: {rule}),'
    _, complaints = coverage_of(tmp_path, written(also=also))
    assert complaints == ['double: nothing is excluded by "too wide"; remove it']
