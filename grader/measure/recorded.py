"""Runs a timed workload of ranks once more, untimed, and lets the ranks record what they do.

Takes: a wall, a submission, a target over ranks. Gives: a `RankTimeline` per rank. Does not cover:
points; none comes from here, so whatever goes wrong only leaves the picture out.

What ranks say is shown to the student, so they are told nothing secret: the inputs of this run are
drawn from the public seed.
"""

from grader.author.declare import Workload
from grader.author.draw import PUBLIC_SEED, Draw
from grader.author.steps import PhaseEnd, PhaseStart, Work, WorkloadSteps
from grader.errors import SandboxError
from grader.intake.submission import Submission
from grader.measure.drive import Raised, Stopped, drive
from grader.measure.ranks import RankedBox, open_ranks
from grader.measure.timeline import RankTimeline
from grader.plan.course import Course
from grader.plan.plan import PlannedProblem, PlannedTarget
from grader.runner.order import Denial
from grader.sandbox.wall import Wall

RECORDED_DRAW = 0
"""Number of its draw."""


def record_ranks(
    wall: Wall,
    submission: Submission,
    course: Course,
    problem: PlannedProblem,
    target: PlannedTarget,
    *,
    wire_rate: int,
) -> tuple[RankTimeline, ...]:
    """Return what the ranks say they did in a run of the largest size; none if it failed.

    `wire_rate` is what their wire carried when they were timed.
    """
    workload = course.workloads[problem.name, target.name]
    try:
        with open_ranks(
            wall,
            submission,
            limits=course.plan.limits,
            most=problem.ranks,
            denial=Denial(problem=problem.name, entries=problem.denied),
            wire_rate=wire_rate,
            record=True,
        ) as box:
            box.load(course.harness)
            return _run(box, workload, course, max(target.sizes))
    except (SandboxError, Raised, Stopped):
        return ()


def _run(box: RankedBox, workload: Workload, course: Course, size: int) -> tuple[RankTimeline, ...]:
    address = (course.plan.assignment, workload.problem, workload.target)
    kept: list[tuple[RankTimeline, ...]] = []
    steps = _listen(workload(Draw(PUBLIC_SEED, address, RECORDED_DRAW), size), box, kept)
    case = drive(steps, box, check=workload.target, index=RECORDED_DRAW, public=False)
    return kept[-1] if kept and not case.faults else ()


def _listen(
    steps: WorkloadSteps, box: RankedBox, kept: list[tuple[RankTimeline, ...]]
) -> WorkloadSteps:
    """Pass a workload's steps on; keep what was recorded between its start and its end."""
    reply = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration:
            break
        reply = None
        if isinstance(step, PhaseStart):
            box.recorded()
        elif isinstance(step, PhaseEnd):
            kept.append(box.recorded())
        elif not isinstance(step, Work):
            reply = yield step
    if not kept and box.size:
        kept.append(box.recorded())
