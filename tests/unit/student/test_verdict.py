"""Public verdicts: cause, expected, got, where and hint."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.assignment.steps import Expect
from grader.assignment.table import Check
from grader.correctness.drive import observe_values
from grader.evidence.comparison import compare_parts, part_pairs
from grader.evidence.distance import Way
from grader.evidence.faults import Fault, FaultKind, LoadFailure
from grader.evidence.observations import CaseMeasurement, ErrorObservation, ValueObservation
from grader.judge.judgement import Cause
from grader.student.verdict import MAX_OF_CASE, Origin, judge_case, judge_check

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


def test_a_check_has_the_cause_of_its_first_failure_and_counts_cases():
    check = Check(name="c", title="t", points=1.0, tolerance=TOLERANCE)
    seen = [case(error("ValueError")), case(error("")), case(value(1, 2))]
    result = judge_check("P", check, seen, description="what it does")
    assert (result.cases, result.cases_passed, result.cause) == (3, 1, Cause.WRONG_ERROR)
    assert [finding.label for finding in result.findings] == ["a bad shape", "keys"]
    assert result.description == "what it does"
    assert result.points == 1.0


def test_all_that_fails_in_a_case_is_listed_and_then_counted():
    verdict = judge_case(case(error(""), error("ValueError"), error("")), TOLERANCE, name="P.c[0]")
    assert [finding.case for finding in verdict.findings] == ["P.c[0]"] * 2
    many = judge_case(case(*[error("")] * 9), TOLERANCE)
    assert len(many.findings) == MAX_OF_CASE
    assert many.findings[-1].label == f"a bad shape (and {9 - MAX_OF_CASE} more in this case)"


def test_a_fault_after_a_wrong_value_is_told_too():
    fault = Fault(kind=FaultKind.EXCEPTION, message="IndexError was raised")
    verdict = judge_case(case(value(1, 2), faults=(fault,)), TOLERANCE)
    assert verdict.cause is Cause.WRONG_VALUE
    assert [finding.got for finding in verdict.findings] == ["1", "IndexError was raised"]


def test_what_could_not_be_loaded_is_told_once_and_as_no_case():
    failure = LoadFailure(names=("f",), text="SyntaxError: invalid syntax", where="f.py, line 2")
    cases = [replace(case(faults=(failure.fault,)), index=index) for index in range(3)]
    check = Check(name="c", title="t", points=1.0, tolerance=TOLERANCE)
    found = judge_check("P", check, cases, description="")
    (finding,) = found.findings
    assert (finding.label, finding.case) == ("loading your file", "")
    assert finding.got == "SyntaxError: invalid syntax; so f is not defined"
    assert finding.where == "f.py, line 2"
    assert "inputs of this case" not in finding.hint
    assert found.cases_passed == 0


def origin_of(got, want, **options):
    return Origin(steps=3, got=got, want=want, way=Way(**options))


def test_numbers_stand_side_by_side_from_the_first_that_differs():
    want = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    got = want.clone()
    got[0, 1], got[1, 2] = 2.5, 1000.25
    seen = case(value(got, want))
    origins = [origin_of(got, want), Origin(steps=4)]
    (finding,) = judge_case(seen, TOLERANCE, origins).findings
    assert finding.expected == "  2  3"
    assert finding.got == "2.5  3"
    assert "[0, 1] is the first of 2 entries that differ, of 6" in finding.where
    assert "the largest difference is 994, at [1, 2]" in finding.where
    assert "1e-05 is allowed" in finding.hint
    assert finding.steps == 3


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.randoms())
def test_as_many_entries_differ_as_were_changed(rows, columns, random):
    want = torch.arange(rows * columns, dtype=torch.float32).reshape(rows, columns) + 1
    changed = random.sample(range(rows * columns), random.randint(1, rows * columns))
    got = want.clone()
    got.view(-1)[changed] = math.nan
    (finding,) = judge_case(
        case(value(got, want)), TOLERANCE, [origin_of(got, want), Origin(steps=4)]
    ).findings
    first = [min(changed) // columns, min(changed) % columns]
    which = f"first of {len(changed)} entries" if len(changed) > 1 else "only entry"
    assert finding.where.startswith(f"{first} is the {which} that differ")
    assert finding.got.split()[0] == "nan"


def test_what_is_compared_exactly_counts_every_bit():
    want = torch.tensor([1, 2, 3])
    got = torch.tensor([1, 0, 0])
    origins = [origin_of(got, want, exact=True), Origin(steps=4)]
    (finding,) = judge_case(case(value(got, want)), TOLERANCE, origins).findings
    assert (finding.expected, finding.got) == ("2  3", "0  0")
    assert "the largest difference is 3, at [2]" in finding.where


def judged_words(got, want, **options):
    """Return the one finding on a comparison, as a student reads it."""
    step = Expect(got, want, label="gradients", **options)
    origins = [Origin.of(step, *pair, steps=3) for pair in part_pairs(got, want)]
    (finding,) = judge_case(
        case(*observe_values(step)), TOLERANCE, [*origins, Origin(steps=3)]
    ).findings
    return finding


def test_a_part_of_a_tuple_has_its_name():
    want = (torch.zeros(2), torch.ones(2), torch.ones(2))
    got = (torch.zeros(2), torch.ones(2), torch.tensor([1.0, 3.0]))
    finding = judged_words(got, want, parts=("dq", "dk", "dv"))
    assert finding.label == "gradients, dv"
    assert finding.where.startswith("[1] is the only entry that differs")
    unnamed = judged_words(got, want)
    assert (unnamed.label, unnamed.where[:6]) == ("gradients", "[2][1]")


def test_a_list_of_another_length_says_both():
    finding = judged_words([1], [1, 2])
    assert (finding.expected, finding.got) == ("2 entries: [1, 2]", "1 entry: [1]")
    assert finding.hint.startswith("It has 1 entry, not 2 entries. The length differs")


def test_a_value_that_was_rounded_twice_says_by_how_much():
    want = torch.tensor([1.0 + 2**-9, 1.0])  # halfway and a little more is the next number
    got = torch.tensor([1.0, 1.0], dtype=torch.bfloat16)
    finding = judged_words(got, want.double() * (1 + 2**-9), rounded_once=torch.bfloat16)
    assert "units in the last place of bfloat16 off the exact value" in finding.hint
    assert finding.where.startswith("[0] is the only entry that differs")


def test_a_zero_with_the_other_sign_is_not_the_same_bits():
    finding = judged_words(torch.tensor([0.0]), torch.tensor([-0.0]), exact=True)
    assert (finding.expected, finding.got.strip()) == ("-0", "0")
    assert finding.hint.startswith("A zero has the other sign")
