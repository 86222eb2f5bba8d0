"""Public verdicts: cause, expected, got, where and hint."""

import math

import pytest
import torch

from grader.assignment.table import Check
from grader.evidence.comparison import compare_parts
from grader.evidence.faults import Fault, FaultKind
from grader.evidence.observations import CaseMeasurement, ErrorObservation, ValueObservation
from grader.judge.judgement import Cause
from grader.student.verdict import judge_case, judge_check

TOLERANCE = {"float32": 1e-5}


def case(*observations, faults=()):
    return CaseMeasurement(
        check="c",
        index=0,
        public=True,
        observations=observations,
        faults=faults,
        calls=1,
        wall_ns=1,
    )


def value(got, want):
    (comparison,) = compare_parts(got, want)
    return ValueObservation(label="keys", comparison=comparison)


def error(got):
    return ErrorObservation(
        label="a bad shape", expected="ValueError", got=got, text="", matches=got == "ValueError"
    )


def test_a_value_within_tolerance_passes():
    verdict = judge_case(case(value(torch.ones(2) + 5e-6, torch.ones(2))), TOLERANCE)
    assert verdict.cause is Cause.NONE
    assert verdict.reason is None


@pytest.mark.parametrize(
    ("got", "hint"),
    [
        (torch.ones(2) * 1.001, "1e-05 is allowed"),
        (torch.ones(2) * 3, "more than rounding"),
        (torch.ones(2, dtype=torch.float16), "dtype differs"),
        (torch.ones(3), "shape differs"),
        (torch.tensor([1.0, math.nan]), "inf or nan"),
        (None, "kind of value differs"),
    ],
)
def test_a_wrong_value_says_what_differs(got, hint):
    verdict = judge_case(case(value(got, torch.ones(2))), TOLERANCE)
    assert verdict.cause is Cause.WRONG_VALUE
    assert verdict.reason is not None
    assert hint in verdict.reason.hint
    assert verdict.reason.label == "keys"


def test_a_dtype_without_a_tolerance_is_compared_exactly():
    wide = torch.ones(2, dtype=torch.float64)
    assert judge_case(case(value(wide * (1 + 1e-15), wide)), TOLERANCE).cause is Cause.WRONG_VALUE


@pytest.mark.parametrize(("got", "text"), [("", "without an error"), ("KeyError", "KeyError")])
def test_a_wrong_error_names_both(got, text):
    verdict = judge_case(case(error(got)), TOLERANCE)
    assert verdict.cause is Cause.WRONG_ERROR
    assert verdict.reason is not None
    assert verdict.reason.expected == "raises ValueError"
    assert text in verdict.reason.got


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_fault_has_a_cause_and_keeps_its_place(kind):
    fault = Fault(kind=kind, message="it stopped", where="a.py, line 3")
    verdict = judge_case(case(error("ValueError"), faults=(fault,)), TOLERANCE)
    assert verdict.cause is not Cause.NONE
    assert verdict.reason is not None
    assert verdict.reason.where == "a.py, line 3"


def test_a_check_shows_its_first_failure_and_counts_cases():
    check = Check(name="c", title="t", points=1.0, tolerance=TOLERANCE)
    seen = [case(error("ValueError")), case(error("")), case(value(1, 2))]
    result = judge_check("P", check, seen, description="what it does")
    assert (result.cases, result.cases_passed, result.cause) == (3, 1, Cause.WRONG_ERROR)
    assert len(result.findings) == 1
    assert result.description == "what it does"
