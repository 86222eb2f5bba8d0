"""Grades a hostile submission on the speed target, as the pipeline would; returns a `Race`."""

from dataclasses import replace

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import PlannedProblem
from grader.correctness.run import measure
from grader.evidence.measurement import Measurement
from grader.intake.submission import Origin, SourceFile, Submission
from grader.judge.judge import judge, judge_checks, sound_problems
from grader.judge.judgement import Cause, CheckJudgement, Judgement, Verdict
from grader.performance.decide.interval import Metric
from grader.performance.measure.targets import measure_targets
from grader.sandbox.pool import SandboxPool
from grader.worker.machine import TimedMachine


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

    def metrics(self, name: str) -> dict[str, Metric]:
        """What was compared for the target called `name`, by kind."""
        return {metric.kind: metric for metric in self.check(name).finding[0].metrics}


TRIES = 3
"""Gradings of one submission: if the machine was too noisy to decide, it is graded again."""


NO_CEILINGS = TimedMachine()


def race(
    source: str,
    loaded: LoadedAssignment,
    sandboxes: SandboxPool,
    *targets: str,
    machine: TimedMachine = NO_CEILINGS,
) -> Race:
    """Grade a submission on the problems that have one of the targets, and on no other target."""
    loaded = replace(loaded, plan=replace(loaded.plan, problems=_with(loaded, targets)))
    for _ in range(TRIES):
        found = _race(source, loaded, sandboxes, machine)
        if not found.judgement.ungraded_points:
            break
    return found


def _race(
    source: str, loaded: LoadedAssignment, sandboxes: SandboxPool, machine: TimedMachine
) -> Race:
    submission = submission_of(source)
    measurement = measure(submission, loaded, sandboxes=sandboxes, machine=machine)
    sound = sound_problems(judge_checks(loaded.plan, measurement))
    measured = measure_targets(submission, loaded, sound, sandboxes=sandboxes, machine=machine)
    measurement = replace(measurement, targets=measured)
    return Race(measurement, judge(loaded.plan, measurement))


def _with(loaded: LoadedAssignment, targets: tuple[str, ...]) -> tuple[PlannedProblem, ...]:
    problems = (
        replace(problem, targets=tuple(t for t in problem.targets if t.name in targets))
        for problem in loaded.plan.problems
    )
    return tuple(problem for problem in problems if problem.targets)


def measured_alone(
    source: str, loaded: LoadedAssignment, sandboxes: SandboxPool, target: str
) -> tuple[str, str]:
    """Return the text that a submission raises in a checked call, and in a timed one."""
    loaded = replace(loaded, plan=replace(loaded.plan, problems=_with(loaded, (target,))))
    submission = submission_of(source)
    (problem,) = measure(submission, loaded, sandboxes=sandboxes, machine=TimedMachine()).problems
    sound = frozenset({problem.problem})
    (timed,) = measure_targets(
        submission, loaded, sound, sandboxes=sandboxes, machine=TimedMachine()
    )
    return problem.cases[0].faults[0].detail, timed.faults[0].detail


def submission_of(source: str) -> Submission:
    return Submission(
        name="attack",
        sha256="0" * 64,
        origin=Origin.MODULE,
        entry="submission",
        files=(SourceFile(name="submission.py", text=source),),
    )
