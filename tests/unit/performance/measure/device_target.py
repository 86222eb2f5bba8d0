"""Measures and judges a target on a device; intake and correctness checks are left out.

`Graded` needs a driver, sandboxes, a planned target, its workload and a reference. `open_fake`
makes one on a device made of memory files.
"""

import contextlib

from grader.assignment.declare import Workload
from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import Plan, PlannedProblem
from grader.assignment.table import Limits
from grader.intake.submission import Origin, SourceFile, Submission
from grader.judge.targets import judge_target
from grader.performance.measure.targets import measure_targets
from grader.worker.machine import TimedMachine
from tests.unit.worker.cuda import thread_sandbox
from tests.unit.worker.cuda.fake_driver import GRANULE_BYTES, FakeDriver
from tests.unit.worker.cuda.thread_sandbox import ThreadSandboxes

LIMITS = Limits(call_wall_s=10.0, load_wall_s=20.0, reply_bytes=1 << 14)
MODULES = ("submission_on_device", "submission", "empty")


class Graded:
    """A target on a device, with sandboxes."""

    def __init__(self, driver, sandboxes, target, make, *, reference, ceilings=(), limits=LIMITS):
        self.driver = driver
        self.sandboxes = sandboxes
        self.target = target
        self._make = make
        self._reference = reference
        self._ceilings = ceilings
        self._limits = limits
        self.problem = PlannedProblem(
            name="problem", title="P", exports=("work",), checks=(), targets=(self.target,)
        )

    def loaded(self, reference):
        plan = Plan(
            assignment="slug",
            title="Slug",
            device="cuda:*",
            seed="s",
            limits=self._limits,
            problems=(self.problem,),
            assignment_sha256="",
            reference_sha256="",
        )
        workload = Workload(
            problem="problem", target="target", sizes=self.target.sizes, make=self._make
        )
        return LoadedAssignment(
            assignment=None,  # type: ignore[arg-type]
            plan=plan,
            cases={},
            workloads={("problem", "target"): workload},
            solution=Submission.of_text("reference", reference).files,
            harness=(),
            folder=None,  # type: ignore[arg-type]
            reference=None,  # type: ignore[arg-type]
        )

    def grade(self, submitted, reference=""):
        """Return the measurement and the judgement of a submission."""
        submission = Submission(
            name="ada",
            sha256="",
            origin=Origin.MODULE,
            entry=MODULES[0],
            files=(SourceFile(name=f"{MODULES[0]}.py", text=submitted),),
        )
        (measured,) = measure_targets(
            submission,
            self.loaded(reference or self._reference),
            frozenset({"problem"}),
            sandboxes=self.sandboxes,
            machine=TimedMachine(drivers=(self.driver,), ceilings=self._ceilings),
        )
        return measured, judge_target(self.problem, self.target, (), (measured,))


@contextlib.contextmanager
def open_fake(folder, target, make, *, reference, ceilings=()):
    """Grade on a device made of memory files; complain of what was not given back to it."""
    driver = FakeDriver(total_bytes=1000 * GRANULE_BYTES, cache_bytes=GRANULE_BYTES)
    thread_sandbox.DEVICES.append(driver)
    sandboxes = ThreadSandboxes(folder, MODULES)
    yield Graded(driver, sandboxes, target, make, reference=reference, ceilings=ceilings)
    thread_sandbox.DEVICES.clear()
    thread_sandbox.SEEN.clear()
    driver.failing.clear()
    assert driver.free_bytes() == driver.facts.total_bytes
    driver.close()
