"""Two fake workers and an assignment, to measure them in turns without sandboxes.

Replies, costs and faults of either side can be set.
"""

import contextlib
import itertools
from dataclasses import replace
from types import SimpleNamespace

from grader.assignment.declare import Workload
from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import Plan, PlannedProblem
from grader.assignment.steps import Call, Expect, Work
from grader.assignment.table import Limits
from grader.intake.submission import Origin, SourceFile, Submission
from grader.performance.measure.interleaved import TargetMeasurer
from grader.performance.measure.overhead import NullCalls
from grader.runner.order import NO_DENIAL
from tests.unit.performance.measure.fake_session import FakeSession
from tests.unit.performance.synthetic import EMPTY, planned

SUBMISSION = Submission(
    name="ada",
    sha256="",
    origin=Origin.MODULE,
    entry="submission",
    files=(SourceFile(name="submission.py", text="# of the student\n"),),
)
SIDES = {0: "submission", 1: "reference"}


def steps(draw, size):
    x = draw.integer(0, 1_000_000)
    got = yield Call("f", x, size)
    yield Work(flops=size)
    yield Expect(got, x, label="same")


def assignment_with(target, make=steps, sizes=(1,)):
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
    return LoadedAssignment(
        assignment=None,  # type: ignore[arg-type]
        plan=plan,
        cases={},
        workloads={("problem", "target"): workload},
        solution=Submission.of_text("reference", "# of the author\n").files,
        harness=(),
        folder=None,  # type: ignore[arg-type]
        reference=None,  # type: ignore[arg-type]
    )


class Race:
    """Two fake workers that reply as configured."""

    def __init__(self, monkeypatch):
        self.log = []
        self.submission = SUBMISSION
        self.opened = []
        self.network_rates = []
        self.costs_ns = {0: itertools.repeat(1000), 1: itertools.repeat(1000)}
        self.replies = {0: lambda step: step.args[0], 1: lambda step: step.args[0]}
        self.load_errors = {}
        self.open_errors = {}
        self.metered = {0: True, 1: True}
        self.machine = SimpleNamespace(open_worker=self.open, drivers=())
        monkeypatch.setattr(NullCalls, "_in_worker", lambda _: EMPTY)

    @contextlib.contextmanager
    def open(self, sandbox, submission, *, limits, denial=NO_DENIAL, ranks=0, network_rate=0):
        self.network_rates.append(network_rate)
        if sandbox in self.open_errors:
            raise self.open_errors[sandbox]
        self.opened.append((SIDES[sandbox], submission.files[0].text))
        session = FakeSession(
            self.replies[sandbox],
            name=SIDES[sandbox],
            log=self.log,
            metered=self.metered[sandbox],
            costs_ns=self.costs_ns[sandbox],
        )
        session.load_error = self.load_errors.get(sandbox)
        yield session

    def run(self, *, target=None, make=steps, stages=(2,), enough=lambda measured: False, ranks=0):
        target = target or planned()
        loaded = assignment_with(target, make, target.sizes)
        problem = replace(loaded.plan.problems[0], ranks=ranks)
        measurer = TargetMeasurer((0, 1), self.submission, loaded, self.machine)  # type: ignore[arg-type]
        return measurer.target(problem, target, stages=stages, enough=enough)

    def calls(self):
        return [(side, step.args) for side, step in self.log if isinstance(step, Call)]
