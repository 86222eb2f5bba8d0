"""What a busy machine has spoiled is repeated, and no limit counts what the grader wished for."""

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from grader.assignment.declare import CaseMaker
from grader.assignment.sequences import SequenceMaker
from grader.assignment.steps import Call, Expect
from grader.assignment.table import Limits
from grader.correctness import run as run_module
from grader.correctness.run import MAX_REPEATS, MAX_WORKERS, _Measurer, _run_case
from grader.evidence.faults import Fault, FaultKind, Stopped
from grader.intake.submission import Origin
from tests.unit.performance.measure.fake_session import FakeSession

BUSY = Stopped(Fault(kind=FaultKind.BUSY, message="others had the processors"))
LATE = Stopped(Fault(kind=FaultKind.TIMEOUT, message="too long"))


def steps(draw):
    got = yield Call("f")
    yield Expect(got, 1, label="f")


class Session(FakeSession):
    """A worker that ends with a fault, as real ones do."""

    failures = ()
    sliced = False

    def take_output(self):
        return ""

    def call(self, step):
        try:
            return super().call(step)
        except Stopped:
            self.alive = False
            raise


def measured(*replies, hidden=2):
    """Run the cases of one check; each call gets the next reply, and 1 after the last."""
    left, opened = list(replies), []

    @contextlib.contextmanager
    def open_worker(sandbox, submission, **options):
        opened.append(Session(lambda step: left.pop(0) if left else 1))
        yield opened[-1]

    check: Any = SimpleNamespace(name="check", public=0, hidden=hidden)
    problem: Any = SimpleNamespace(
        name="problem", checks=(check,), denied=(), exports=("f",), ranks=0
    )
    maker = CaseMaker(problem="problem", check="check", public=0, hidden=hidden, make=steps)
    loaded: Any = SimpleNamespace(
        plan=SimpleNamespace(seed="s", assignment="demo", limits=Limits(), device="cpu"),
        cases={("problem", "check"): maker},
        harness=(),
    )
    sandbox: Any = None
    submission: Any = SimpleNamespace(origin=Origin.MODULE)
    machine: Any = SimpleNamespace(open_worker=open_worker)
    measurer = _Measurer(sandbox, submission, loaded, machine)
    return measurer.measure(problem), opened


@pytest.fixture(autouse=True)
def plain_copies(monkeypatch):
    monkeypatch.setattr(run_module, "replace", lambda one, **changes: one)
    monkeypatch.setattr(run_module, "damage_of", lambda submission: ())


def kinds(problem):
    return [fault.kind for case in problem.cases for fault in case.faults]


def test_a_case_is_repeated_in_a_new_worker():
    problem, opened = measured(BUSY, BUSY)
    assert kinds(problem) == []
    assert [case.index for case in problem.cases] == [0, 1]
    assert len(opened) == 3


def test_a_machine_that_stays_busy_grades_nothing():
    problem, opened = measured(*[BUSY] * 9)
    assert kinds(problem)[0] is FaultKind.BUSY
    assert len(opened) == MAX_REPEATS + 2  # then the next case begins, and is not run


def test_what_is_too_slow_is_not_repeated():
    problem, opened = measured(LATE)
    assert kinds(problem)[0] is FaultKind.TIMEOUT
    assert len(opened) == 2
    assert MAX_WORKERS == 3


@pytest.mark.usefixtures("three_tries")
def test_the_search_for_a_shorter_sequence_is_not_of_the_limit():
    session: Any = Session(lambda step: 2, costs_ns=iter([1000] * 99))
    instance: Any = _Sequence()
    case, before_ns = _run_case(session, instance, shorten=True)
    assert case.calls == 3
    assert (before_ns, session.charged_ns) == (3000, 9000)


class _Sequence:
    """Stands for an instance of a sequence; `drive_sequence` tries two shorter ones."""

    maker = SequenceMaker.__new__(SequenceMaker)

    def draw(self):
        return None

    def run(self, session, steps):
        for _ in range(3):
            session.call(Call("f"))
        return SimpleNamespace(calls=3)


@pytest.fixture
def three_tries(monkeypatch):
    def search(maker, draw, run, *, alive):
        found = [run(None) for _ in range(3)]
        assert alive()
        return found[-1]

    monkeypatch.setattr(run_module, "drive_sequence", search)
