"""Grades every specimen of an assignment and joins what follows from it.

Takes: a course and walls. Gives: a `ValidationReport`. Does not cover: printing it (see
`commands.validate`).

A wrong submission is the solution with something appended: problems that this cannot change are not
run again, what the solution did there holds for both.
"""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import Plan
from grader.cuda_cpp.builder import Builder
from grader.evidence.measurement import Measurement
from grader.evidence.samples import TargetMeasurement
from grader.judge.judge import judge
from grader.judge.judgement import Judgement
from grader.performance.decide.totals import SPREADS, too_short
from grader.sandbox.pool import SandboxPool
from grader.validate.kill_matrix import Validation, build_matrix
from grader.validate.known_run import KnownRun, Measured, ValidationTools, without_targets
from grader.validate.known_submission import Kind, KnownSubmission, load_known_submissions
from grader.validate.seed_vetting import SeedRuns, further_seeds, load_here, play_seeds
from grader.validate.signature import compare_launchers, compare_signatures
from grader.validate.triviality import TrivialResult, lint
from grader.worker.machine import TimedMachine


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationReport:
    """All that is known of one assignment.

    Attributes:
        validation: the specimens, the kill matrix and the complaints.
        trivial: what became of trivial submissions.
        seed: what hidden cases were drawn from.
        further: what became of the solution under further seeds.
        unvalidated: specimens that this machine cannot compile, each with what it lacks.
    """

    validation: Validation
    trivial: tuple[TrivialResult, ...]
    seed: str
    further: SeedRuns
    unvalidated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """One specimen with what became of it."""

    known: KnownSubmission
    judgement: Judgement
    targets: tuple[TargetMeasurement, ...]


def validate_assignment(
    loaded: LoadedAssignment,
    sandboxes: SandboxPool,
    *,
    jobs: int,
    seeds: int,
    on_known: Callable[[KnownSubmission, float], None],
    machine: TimedMachine,
    builder: Builder,
) -> ValidationReport:
    """Run every specimen behind a wall, and every trivial submission without one.

    The solution's checks are run under so many further `seeds` as well. `on_known` is told how
    many seconds each specimen took.

    Raises:
        AuthorError: if a specimen cannot be read.
    """
    known_submissions = load_known_submissions(loaded)
    place = ValidationTools(loaded=loaded, sandboxes=sandboxes, machine=machine, builder=builder)
    runs = [KnownRun(known, place) for known in known_submissions]
    measured = _run_all(runs, jobs=jobs, on_known=on_known)
    (solution,) = [one.measurement for one in measured if one.known.kind is Kind.SOLUTION]
    graded = [_grade(one, solution, loaded.plan) for one in measured if not one.lacks]
    trivial, further = _play_here(loaded, further_seeds(loaded.plan.seed, seeds))
    solutions = [one for one in graded if one.known.kind is Kind.SOLUTION]
    complaints = _complain_of_trivial(trivial)
    complaints += _complain_of_seeds(loaded, further)
    complaints += [c for one in solutions for c in _too_short(loaded, one.targets)]
    complaints += _complain_of_signatures(loaded)
    return ValidationReport(
        validation=build_matrix(
            loaded.assignment.slug, [(one.known, one.judgement) for one in graded], complaints
        ),
        trivial=tuple(trivial),
        seed=loaded.plan.seed,
        further=further,
        unvalidated=tuple(one.words for one in measured if one.lacks),
    )


def _run_all(
    runs: Sequence[KnownRun], *, jobs: int, on_known: Callable[[KnownSubmission, float], None]
) -> list[Measured]:
    """Count on all jobs, then time one after the other, with nothing beside it."""
    longest_first = sorted(runs, key=lambda run: not run.has_targets)
    with ThreadPoolExecutor(jobs, thread_name_prefix="validate") as workers:
        counting = [workers.submit(run.count) for run in longest_first]
        try:
            for run in (future.result() for future in as_completed(counting)):
                if not run.is_timed:
                    on_known(run.known, run.seconds)
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)  # what waits would be run in vain
            raise
    for run in runs:
        if run.is_timed:
            run.time()
            on_known(run.known, run.seconds)
    return [run.measured for run in runs]


def _grade(measured: Measured, solution: Measurement, plan: Plan) -> Graded:
    """Judge a specimen; where it does what the solution does, by what the solution did."""
    known, own = measured.known, measured.measurement
    joined = replace(
        own,
        problems=(
            *own.problems,
            *(p for p in solution.problems if p.problem not in known.affects),
        ),
        targets=(
            *own.targets,
            *(t for t in solution.targets if t.problem not in known.affects),
        ),
    )
    judgement = judge(without_targets(plan, known), joined)
    return Graded(known=known, judgement=judgement, targets=own.targets)


def _too_short(loaded: LoadedAssignment, targets: tuple[TargetMeasurement, ...]) -> list[str]:
    """Return a complaint for every target whose reference runs say nothing about time."""
    planned = {(p.name, t.name): t for p in loaded.plan.problems for t in p.targets}
    return [
        f"{one.problem}.{one.target}: the reference takes less than {SPREADS} spreads of as many "
        "empty calls at the smallest size; choose larger sizes"
        for one in targets
        if one.forks  # else it could not be measured, which is a complaint of its own
        and not planned[one.problem, one.target].quantity.is_counted
        and too_short(planned[one.problem, one.target], one)
    ]


def _complain_of_signatures(loaded: LoadedAssignment) -> list[str]:
    starter = loaded.folder / "starter.py"
    exports = tuple(name for problem in loaded.plan.problems for name in problem.exports)
    return [
        *compare_signatures(
            starter, loaded.reference / "solution.py", exports, loaded.solution[1:]
        ),
        *compare_launchers(starter, loaded.assignment.launchers),
    ]


def _complain_of_trivial(trivial: list[TrivialResult]) -> list[str]:
    complaints = [
        f"{result.problem}: a submission that answers with {result.trivial.value} passes every "
        "check; the problem cannot be graded"
        for result in trivial
        if result.applied and not result.caught
    ]
    return complaints + [
        f"{result.problem}.{check}: its case fails on a reply of another form "
        f"({result.trivial.value}); compare a reply with Expect before taking it apart"
        for result in trivial
        for check in result.confused
    ]


def _complain_of_seeds(loaded: LoadedAssignment, further: SeedRuns) -> list[str]:
    slug = loaded.assignment.slug
    return [
        f"{one.check}: the solution fails it under another seed, and a class with that seed would "
        f"fail as one ({one.summary}; grader validate {slug} --seed {one.seed} repeats it)"
        for one in further.rejected_seeds
    ]


def _play_here(
    loaded: LoadedAssignment, seeds: Sequence[str]
) -> tuple[list[TrivialResult], SeedRuns]:
    """Run the solution in this process, spoiled and under other seeds."""
    solution, harness = load_here(loaded)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries; boxes keep them to themselves as well
        return lint(loaded, solution, harness), play_seeds(loaded, solution, harness, seeds)
