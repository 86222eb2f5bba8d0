"""Control runs: what raised under a denial is run once without it; nothing else is."""

import itertools
from types import SimpleNamespace

import pytest

from grader.assignment.declare import CaseMaker
from grader.assignment.steps import Call, Expect
from grader.correctness.instances import Instance
from grader.correctness.run import first_raised, run_controls
from grader.evidence.faults import Fault, FaultKind
from grader.evidence.observations import CaseMeasurement, ErrorObservation
from tests.unit.performance.measure.fake_session import FakeSession, raised


def steps(draw):
    got = yield Call("f")
    yield Expect(got, 1, label="f")


PLAN = SimpleNamespace(seed="s", assignment="demo", limits=SimpleNamespace(problem_wall_s=1e-5))


def instance(index):
    maker = CaseMaker(problem="problem", check="check", public=0, hidden=9, make=steps)
    return Instance(plan=PLAN, maker=maker, index=index, public=False)  # type: ignore[arg-type]


def case(check, index, *, kind=None, observations=()):
    faults = () if kind is None else (Fault(kind=kind, message="it stopped"),)
    return CaseMeasurement(
        check=check,
        index=index,
        public=False,
        observations=observations,
        faults=faults,
        calls=1,
        wall_ns=1,
    )


def error(got, *, matches):
    return ErrorObservation(label="f", expected="ValueError", got=got, text="", matches=matches)


def again(session, waiting):
    return run_controls(session, waiting, PLAN, "")  # type: ignore[arg-type]


def test_the_first_case_of_each_check_that_raised():
    cases = [
        case("values", 0),
        case("values", 1, kind=FaultKind.EXCEPTION),
        case("values", 2, kind=FaultKind.EXCEPTION),
        case("refusal", 0, observations=(error("RuntimeError", matches=False),)),
    ]
    assert first_raised(cases) == (cases[1], cases[3])


@pytest.mark.parametrize("kind", sorted(set(FaultKind) - {FaultKind.EXCEPTION}))
def test_no_other_fault_is_run_again(kind):
    assert first_raised([case("values", 0, kind=kind)]) == ()


@pytest.mark.parametrize(
    "observation", [error("ValueError", matches=True), error("", matches=False)]
)
def test_an_expected_or_missing_error_is_not_run_again(observation):
    assert first_raised([case("refusal", 0, observations=(observation,))]) == ()


def test_cases_are_run_in_their_order():
    session = FakeSession(lambda step: 1)
    done = again(session, [instance(3), instance(5)])
    assert [(one.index, one.faults) for one in done] == [(3, ()), (5, ())]
    assert session.log[0] == ("", "load")


def test_a_case_that_raises_without_the_denial_has_its_fault():
    session = FakeSession(lambda step: raised())
    (done,) = again(session, [instance(0)])
    assert done.faults[0].kind is FaultKind.EXCEPTION


def test_a_submission_that_cannot_be_imported_has_no_control_runs():
    session = FakeSession()
    session.load_error = raised()
    assert again(session, [instance(0)]) == ()


def test_cases_after_the_time_limit_are_left_out():
    session = FakeSession(lambda step: 1, costs_ns=itertools.repeat(20_000))
    assert len(again(session, [instance(0), instance(1)])) == 1
