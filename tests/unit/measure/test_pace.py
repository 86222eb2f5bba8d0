"""Turn by turn: who runs when, who is blamed for what, and when enough was seen."""

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import pytest

from grader.author.declare import Workload
from grader.author.steps import Call, Expect, Work
from grader.errors import SandboxError
from grader.intake.submission import Origin, SourceFile, Submission
from grader.measure import pace
from grader.measure.drive import Stopped
from grader.measure.measurement import Fault, FaultKind
from grader.measure.pace import TURNS, PaceMeasurer
from grader.plan.assignment import Limits
from grader.plan.course import Course
from grader.plan.plan import Plan, PlannedProblem
from grader.plan.target import Quantity
from grader.runner.order import NO_DENIAL
from tests.unit.measure.fake_session import FakeSession, raised
from tests.unit.measure.synthetic import EMPTY, planned

SUBMISSION = Submission(
    name="ada",
    sha256="",
    origin=Origin.MODULE,
    entry="submission",
    files=(SourceFile(name="submission.py", text="# of the student\n"),),
)
SIDES = {0: "subject", 1: "reference"}


def steps(draw, size):
    x = draw.integer(0, 1_000_000)
    got = yield Call("f", x, size)
    yield Work(flops=size)
    yield Expect(got, x, label="same")


def course_with(target, make=steps, sizes=(1,)):
    workload = Workload(problem="problem", target="target", sizes=sizes, make=make)
    problem = PlannedProblem(
        name="problem", title="Problem", exports=("f",), checks=(), targets=(target,)
    )
    plan = Plan(
        assignment="slug",
        title="Slug",
        device="cpu",
        seed="s",
        limits=Limits(),
        problems=(problem,),
        assignment_sha256="",
        reference_sha256="",
    )
    return Course(
        assignment=None,  # type: ignore[arg-type]
        plan=plan,
        cases={},
        workloads={("problem", "target"): workload},
        solution="# of the author\n",
        harness="",
        folder=None,  # type: ignore[arg-type]
        reference=None,  # type: ignore[arg-type]
    )


class Race:
    """Two fake boxes that answer as they are told to."""

    def __init__(self, monkeypatch):
        self.log = []
        self.opened = []
        self.replies = {0: lambda step: step.args[0], 1: lambda step: step.args[0]}
        self.load_errors = {}
        self.open_errors = {}
        self.metered = {0: True, 1: True}
        self.machine = SimpleNamespace(open_box=self.open, drivers=())
        monkeypatch.setattr(pace, "measure_empty_calls", lambda *_: EMPTY)

    @contextlib.contextmanager
    def open(self, wall, submission, *, limits, denial=NO_DENIAL, ranks=0, wire_rate=0):
        if wall in self.open_errors:
            raise self.open_errors[wall]
        self.opened.append((SIDES[wall], submission.files[0].text))
        session = FakeSession(
            self.replies[wall], name=SIDES[wall], log=self.log, metered=self.metered[wall]
        )
        session.load_error = self.load_errors.get(wall)
        yield session

    def run(self, *, target=None, make=steps, looks=(2,), enough=lambda measured: False):
        target = target or planned()
        course = course_with(target, make, target.sizes)
        measurer = PaceMeasurer((0, 1), SUBMISSION, course, self.machine)  # type: ignore[arg-type]
        return measurer.target(course.plan.problems[0], target, looks=looks, enough=enough)

    def calls(self):
        return [(side, step.args) for side, step in self.log if isinstance(step, Call)]


@pytest.fixture
def race(monkeypatch):
    return Race(monkeypatch)


def test_each_side_runs_its_own_code_in_a_new_box_per_fork(race):
    measured = race.run(looks=(3,))
    assert len(measured.forks) == 3
    assert (
        race.opened
        == [
            ("subject", "# of the student\n"),
            ("reference", "# of the author\n"),
        ]
        * 3
    )


def test_turns_alternate_and_the_next_fork_begins_the_other_way_round(race):
    measured = race.run(looks=(2,))
    assert [[p.subject_first for p in fork.pairs] for fork in measured.forks] == [
        [True, False, True, False],
        [False, True, False, True],
    ]
    first_of_pairs = [side for side, _ in race.calls()][::2]
    assert first_of_pairs == [
        SIDES[not p.subject_first] for fork in measured.forks for p in fork.pairs
    ]


def test_both_sides_get_the_same_inputs_and_every_pair_new_ones(race):
    race.run(looks=(2,))
    inputs = [args for _, args in race.calls()]
    pairs = list(zip(inputs[::2], inputs[1::2], strict=True))
    assert all(one == other for one, other in pairs)
    assert len({one for one, _ in pairs}) == len(pairs) == 2 * TURNS[Quantity.TIME]


def test_every_fork_runs_every_size(race):
    sizes = (2, 4, 8)
    measured = race.run(target=planned(Quantity.GROWTH, sizes=sizes))
    assert [[p.size for p in fork.pairs] for fork in measured.forks] == [[2, 4, 8]] * 2
    assert [(w.size, w.flops) for w in measured.work] == [(2, 2), (4, 4), (8, 8)]


def test_objects_of_one_run_are_gone_in_the_next(race):
    race.run(looks=(1,))
    for side in SIDES.values():
        kinds = [what if what == "end" else "call" for s, what in race.log if s == side]
        assert kinds[1:] == ["call", "end"] * TURNS[Quantity.TIME]


def test_looks_stop_as_soon_as_enough_was_seen(race):
    asked = []

    def enough(measured):
        asked.append(len(measured.forks))
        return len(asked) == 2

    measured = race.run(looks=(4, 8, 12), enough=enough)
    assert asked == [4, 8]
    assert len(measured.forks) == 8


def test_the_last_look_ends_it(race):
    assert len(race.run(looks=(1, 2)).forks) == 2


def crash():
    return Stopped(Fault(kind=FaultKind.CRASH, message="it ended"))


@pytest.mark.parametrize("error", [raised(), crash()], ids=["raised", "crashed"])
def test_what_the_submission_does_wrong_is_its_own_fault(race, error):
    race.replies[0] = lambda step: error
    measured = race.run()
    assert (len(measured.faults), measured.reference_faults, measured.forks) == (1, (), ())
    assert measured.faults[0].kind in (FaultKind.EXCEPTION, FaultKind.CRASH)


@pytest.mark.parametrize("error", [raised(), crash()], ids=["raised", "crashed"])
def test_what_the_reference_does_wrong_is_the_authors(race, error):
    race.replies[1] = lambda step: error
    measured = race.run()
    assert measured.faults == ()
    assert [fault.kind for fault in measured.reference_faults] == [FaultKind.AUTHOR]
    assert "the reference itself" in measured.reference_faults[0].message


@pytest.mark.parametrize("side", [0, 1])
def test_our_own_failure_is_never_a_students(race, side):
    ours = Stopped(Fault(kind=FaultKind.INFRASTRUCTURE, message="no room"))
    race.replies[side] = lambda step: ours
    measured = race.run()
    assert measured.faults == ()
    assert [fault.kind for fault in measured.reference_faults] == [FaultKind.INFRASTRUCTURE]


@pytest.mark.parametrize("side", [0, 1])
def test_a_box_that_cannot_be_had_is_ours(race, side):
    race.open_errors[side] = SandboxError("no box", hint="make room")
    measured = race.run()
    (fault,) = measured.reference_faults
    assert (fault.kind, measured.faults) == (FaultKind.INFRASTRUCTURE, ())
    assert "make room" in fault.message


def test_a_workload_that_fails_is_the_authors_on_either_side(race):
    def broken(draw, size):
        yield Call("f", 1)
        raise KeyError("of the author")

    measured = race.run(make=broken)
    assert measured.faults == ()
    assert [fault.kind for fault in measured.reference_faults] == [FaultKind.AUTHOR]


@pytest.mark.parametrize(("side", "ours"), [(0, False), (1, True)])
def test_an_import_that_fails_ends_it_before_anything_runs(race, side, ours):
    race.load_errors[side] = raised("ImportError")
    measured = race.run()
    assert (bool(measured.faults), bool(measured.reference_faults)) == (not ours, ours)
    assert race.calls() == []


def test_nothing_runs_after_a_fault(race):
    replies = iter([1, 2, raised()])
    race.replies[0] = lambda step: next(replies)
    measured = race.run(looks=(5,), make=lambda draw, size: (Call("f", n) for n in [0]))
    assert len(measured.faults) == 1
    assert measured.forks == ()  # a fork that did not come to its end counts for nothing
    assert len(race.opened) == 2


def test_of_thousands_of_replies_the_worst_are_kept(race):
    race.replies[0] = lambda step: step.args[0] + 1
    race.replies[1] = lambda step: step.args[0] + 1
    measured = race.run(looks=(3,))
    (seen,) = measured.observations
    assert seen.label == "same"
    assert len(measured.forks) == 3


@pytest.mark.parametrize("side", [0, 1])
def test_only_the_submissions_replies_are_judged(race, side):
    race.replies[side] = lambda step: -1
    measured = race.run()
    (seen,) = measured.observations
    assert (seen.comparison.mismatch == "none") == (side == 1)


@pytest.mark.parametrize("side", [0, 1])
def test_one_side_without_counters_leaves_both_without(race, side):
    race.metered[side] = False
    assert not race.run().metered


def test_samples_hold_what_each_side_used(race, monkeypatch):
    measured = race.run(looks=(1,))
    one = measured.forks[0].pairs[0]
    assert one.subject == replace(one.reference, peak_bytes=one.subject.peak_bytes)
    assert (one.subject.calls, one.subject.wall_ns, one.subject.cpu_ns) == (1, 1000, 2000)
    assert one.elapsed_ns > 0
