"""One rule: a report and a student's own machine give the same verdict on a case."""

import math

import pytest

from grader.assignment.table import Check
from grader.evidence.comparison import Comparison, Mismatch
from grader.evidence.faults import Fault, FaultKind, RankStack
from grader.evidence.observations import CaseMeasurement, ErrorObservation, ValueObservation
from grader.judge.judgement import OUR_CAUSES, Cause
from grader.judge.rule import (
    CAUSE_OF_FAULT,
    CAUSE_OF_FAULT_IN_TARGETS,
    describe_fault,
    describe_stacks,
    first_trouble,
    is_wrong,
)
from grader.student.verdict import judge_case, judge_check
from grader.validate.seed_vetting import judge_cases
from tests.unit.validate.small_assignment import make_course

TOLERANCE = {"float32": 1e-5}


def case(*observations, faults=()):
    return CaseMeasurement(
        check="values",
        index=0,
        public=True,
        observations=observations,
        faults=faults,
        calls=1,
        wall_ns=1,
    )


def value(error=0.0, *, dtype="float32", mismatch=Mismatch.NONE):
    found = Comparison(mismatch=mismatch, error=error, dtype=dtype, expected="1", got="2", where="")
    return ValueObservation(label="y", comparison=found)


def raises(got):
    return ErrorObservation(
        label="a scalar", expected="ValueError", got=got, text="", matches=got == "ValueError"
    )


def fault(kind):
    return Fault(kind=kind, message="it stopped")


CASES = {
    "within": (case(value(1e-5)), Cause.NONE),
    "beyond": (case(value(2e-5)), Cause.WRONG_VALUE),
    "nan": (case(value(math.nan)), Cause.WRONG_VALUE),
    "exact": (case(value(1e-9, dtype="float64")), Cause.WRONG_VALUE),
    "shape": (case(value(mismatch=Mismatch.SHAPE)), Cause.WRONG_VALUE),
    "raised": (case(raises("ValueError")), Cause.NONE),
    "not raised": (case(raises("")), Cause.WRONG_ERROR),
    "wrong, then a crash": (case(value(1.0), faults=(fault(FaultKind.CRASH),)), Cause.WRONG_VALUE),
    "right, then a crash": (case(value(), faults=(fault(FaultKind.CRASH),)), Cause.CRASH),
    "compared nothing": (case(), Cause.AUTHOR),
    **{kind.value: (case(faults=(fault(kind),)), CAUSE_OF_FAULT[kind]) for kind in FaultKind},
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return make_course(tmp_path_factory.mktemp("course"), tolerance="1e-5")


@pytest.mark.parametrize(("seen", "cause"), CASES.values(), ids=CASES)
def test_judge_and_student_agree(loaded, seen, cause):
    (problem,) = loaded.plan.problems
    trouble = first_trouble(seen, TOLERANCE)
    assert (trouble.cause if trouble else Cause.NONE) is cause
    assert judge_case(seen, TOLERANCE).cause is cause
    planned = problem.checks[0]
    (judged,) = judge_cases(loaded.plan, problem, [seen] * planned.cases)
    assert judged.cause is cause


def test_a_measured_run_differs_in_two_causes_alone():
    differing = {
        kind: cause
        for kind, cause in CAUSE_OF_FAULT_IN_TARGETS.items()
        if cause is not CAUSE_OF_FAULT[kind]
    }
    assert differing == {
        FaultKind.TIMEOUT: Cause.TOO_SLOW,
        FaultKind.OUT_OF_MEMORY: Cause.TOO_MUCH_MEMORY,
    }
    assert set(CAUSE_OF_FAULT_IN_TARGETS) == set(FaultKind)


def test_an_observation_alone_is_wrong_or_not():
    assert is_wrong(value(math.inf), TOLERANCE)
    assert not is_wrong(value(0.0, dtype="int64"), TOLERANCE)


@pytest.mark.parametrize("seen", [[case()], []], ids=["compares nothing", "no case"])
def test_a_check_that_compares_nothing_is_the_authors_fault(seen):
    check = Check(name="values", title="Doubles", points=1.0, tolerance=TOLERANCE)
    result = judge_check("double", check, seen, description="")
    assert not result.passed
    assert result.cause in OUR_CAUSES
    (finding,) = result.findings
    assert "not your fault" in finding.hint
    assert finding.label == "the case itself"


def stack(rank, state, where="", text=""):
    return RankStack(rank=rank, state=state, where=where, text=text)


def test_what_several_ranks_did_alike_is_said_once():
    alike = "m.py, line 4, in step\nKeyError: 'w'"
    stacks = (
        stack(0, "had raised KeyError", "m.py, line 4", alike),
        stack(1, "had raised ValueError", "m.py, line 7", "m.py, line 7, in step\nValueError: n"),
        stack(2, "had raised KeyError", "m.py, line 4", alike),
        stack(3, "had returned"),
    )
    told = Fault(kind=FaultKind.EXCEPTION, message="step raised KeyError", stacks=stacks)
    assert describe_fault(told) == (
        "step raised KeyError. At that moment ranks 0 and 2 had raised KeyError (m.py, line 4), "
        "rank 1 had raised ValueError (m.py, line 7), rank 3 had returned"
    )
    assert describe_stacks(stacks) == (
        f"ranks 0 and 2 had raised KeyError\n{alike}\n"
        "rank 1 had raised ValueError\nm.py, line 7, in step\nValueError: n\n"
        "rank 3 had returned"
    )


def test_ranks_with_messages_of_their_own_are_told_apart():
    both = [stack(n, "had raised KeyError", "m.py, line 4", f"KeyError: {n}") for n in range(2)]
    assert describe_stacks(both) == (
        "rank 0 had raised KeyError\nKeyError: 0\nrank 1 had raised KeyError\nKeyError: 1"
    )
