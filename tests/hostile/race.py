"""A hostile submission that wants to be fast, graded on the pace target as the pipeline would.

Takes: a source, a course, walls. Gives: `Race`. Does not cover: which attacks there are.
"""

from dataclasses import replace

from grader.intake.submission import Origin, SourceFile, Submission
from grader.judge.judge import judge, sound_problems
from grader.judge.judgement import Cause, CheckJudgement, Judgement, Verdict
from grader.measure.figure import Figure
from grader.measure.machine import TimedMachine
from grader.measure.measurement import Measurement
from grader.measure.run import measure
from grader.measure.targets import measure_targets
from grader.plan.course import Course
from grader.plan.plan import PlannedProblem
from grader.sandbox.pool import WallPool


class Race:
    """What became of a submission that was measured against the reference."""

    def __init__(self, measurement: Measurement, judgement: Judgement) -> None:
        self.measurement = measurement
        self.judgement = judgement

    def check(self, name: str) -> CheckJudgement:
        """The judgement on the check or target called `name`."""
        (found,) = [c for c in self.judgement.checks if c.check == name]
        return found

    def cause(self, name: str) -> Cause:
        """Why the check or target called `name` did not pass; NONE if it did."""
        found = self.check(name)
        assert (found.verdict is Verdict.PASS) == (found.cause is Cause.NONE), found.summary
        return found.cause

    def figures(self, name: str) -> dict[str, Figure]:
        """What was compared for the target called `name`, by kind."""
        return {figure.kind: figure for figure in self.check(name).pace[0].figures}


TRIES = 3
"""Gradings of one submission: a machine too noisy to decide says so, and is asked again."""


NO_CEILINGS = TimedMachine()


def race(
    source: str,
    course: Course,
    walls: WallPool,
    *targets: str,
    machine: TimedMachine = NO_CEILINGS,
) -> Race:
    """Grade a submission on the problems that have one of the targets, and on no other target."""
    course = replace(course, plan=replace(course.plan, problems=_with(course, targets)))
    for _ in range(TRIES):
        found = _race(source, course, walls, machine)
        if not found.judgement.ungraded_points:
            break
    return found


def _race(source: str, course: Course, walls: WallPool, machine: TimedMachine) -> Race:
    submission = submission_of(source)
    measurement = measure(submission, course, walls=walls, machine=machine)
    sound = sound_problems(judge(course.plan, measurement))
    measured = measure_targets(submission, course, sound, walls=walls, machine=machine)
    measurement = replace(measurement, targets=measured)
    return Race(measurement, judge(course.plan, measurement))


def _with(course: Course, targets: tuple[str, ...]) -> tuple[PlannedProblem, ...]:
    problems = (
        replace(problem, targets=tuple(t for t in problem.targets if t.name in targets))
        for problem in course.plan.problems
    )
    return tuple(problem for problem in problems if problem.targets)


def measured_alone(source: str, course: Course, walls: WallPool, target: str) -> tuple[str, str]:
    """Return what a submission that raises says in a checked call, and what in a timed one."""
    course = replace(course, plan=replace(course.plan, problems=_with(course, (target,))))
    submission = submission_of(source)
    (problem,) = measure(submission, course, walls=walls, machine=TimedMachine()).problems
    sound = frozenset({problem.problem})
    (timed,) = measure_targets(submission, course, sound, walls=walls, machine=TimedMachine())
    return problem.cases[0].faults[0].detail, timed.faults[0].detail


def submission_of(source: str) -> Submission:
    return Submission(
        name="attack",
        sha256="0" * 64,
        origin=Origin.MODULE,
        entry="submission",
        files=(SourceFile(name="submission.py", text=source),),
    )
