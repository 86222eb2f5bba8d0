"""Two fake boxes and a course for them, for whoever measures them in turn.

Takes: replies, costs and faults of either side. Gives: `Race`. Does not cover: walls.
"""

import contextlib
import itertools
from dataclasses import replace
from types import SimpleNamespace

from grader.author.declare import Workload
from grader.author.steps import Call, Expect, Work
from grader.intake.submission import Origin, SourceFile, Submission
from grader.measure import pace
from grader.measure.pace import PaceMeasurer
from grader.plan.assignment import Limits
from grader.plan.course import Course
from grader.plan.plan import Plan, PlannedProblem
from grader.runner.order import NO_DENIAL
from tests.unit.measure.fake_session import FakeSession
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
        self.wire_rates = []
        self.costs_ns = {0: itertools.repeat(1000), 1: itertools.repeat(1000)}
        self.replies = {0: lambda step: step.args[0], 1: lambda step: step.args[0]}
        self.load_errors = {}
        self.open_errors = {}
        self.metered = {0: True, 1: True}
        self.machine = SimpleNamespace(open_box=self.open, drivers=())
        monkeypatch.setattr(pace, "measure_empty_calls", lambda *_: EMPTY)

    @contextlib.contextmanager
    def open(self, wall, submission, *, limits, denial=NO_DENIAL, ranks=0, wire_rate=0):
        self.wire_rates.append(wire_rate)
        if wall in self.open_errors:
            raise self.open_errors[wall]
        self.opened.append((SIDES[wall], submission.files[0].text))
        session = FakeSession(
            self.replies[wall],
            name=SIDES[wall],
            log=self.log,
            metered=self.metered[wall],
            costs_ns=self.costs_ns[wall],
        )
        session.load_error = self.load_errors.get(wall)
        yield session

    def run(self, *, target=None, make=steps, looks=(2,), enough=lambda measured: False, ranks=0):
        target = target or planned()
        course = course_with(target, make, target.sizes)
        problem = replace(course.plan.problems[0], ranks=ranks)
        measurer = PaceMeasurer((0, 1), SUBMISSION, course, self.machine)  # type: ignore[arg-type]
        return measurer.target(problem, target, looks=looks, enough=enough)

    def calls(self):
        return [(side, step.args) for side, step in self.log if isinstance(step, Call)]
