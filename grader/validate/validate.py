"""Grades every known submission of an assignment and reports where a result is unexpected.

If the solution fails a check, in this process or in a sandbox, that alone is told. Most wrong
submissions are the solution with something appended. Problems that this cannot change are not run
again: the solution's result holds for both.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import Plan
from grader.cuda_cpp.builder import Builder
from grader.evidence.measurement import Measurement
from grader.evidence.samples import TargetMeasurement
from grader.judge.judge import judge
from grader.judge.judgement import Judgement
from grader.performance.decide.totals import SPREADS, too_short
from grader.sandbox.pool import SandboxPool
from grader.validate.coverage import Coverage, complain_of_coverage, measure_coverage
from grader.validate.kill_matrix import Validation, build_matrix
from grader.validate.known_run import (
    KnownRun,
    Measured,
    ValidationTools,
    failures,
    without_targets,
)
from grader.validate.known_submission import Kind, KnownSubmission, load_known_submissions
from grader.validate.ledger import LedgerResult, compare_ledger
from grader.validate.published import can_make_notebooks, find_stale
from grader.validate.rehearsal import Rehearsal
from grader.validate.seed_vetting import SeedRuns, further_seeds, play_seeds
from grader.validate.signature import compare_launchers, compare_signatures
from grader.validate.triviality import TrivialResult, lint
from grader.worker.machine import TimedMachine


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationReport:
    """The whole result of validating one assignment.

    Attributes:
        validation: the known submissions, the kill matrix and the complaints.
        trivial: results of trivial submissions.
        seed: seed of the hidden cases.
        further: results of the solution under further seeds.
        unvalidated: known submissions that could not be compiled, each with the missing compiler.
        coverage: what the cases of each problem show of its factors.
        ledger: how many sentences are promises, asked, not graded; its complaints are among those
            of `validation`.
    """

    validation: Validation
    trivial: tuple[TrivialResult, ...]
    seed: str
    further: SeedRuns
    unvalidated: tuple[str, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    ledger: LedgerResult = field(default_factory=LedgerResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """One known submission with its judgement, its own targets and its processor time."""

    known: KnownSubmission
    judgement: Judgement
    cpu_s: float
    targets: tuple[TargetMeasurement, ...]


def stopped(loaded: LoadedAssignment, causes: Iterable[str]) -> ValidationReport:
    """Return the report of an assignment whose solution fails: the causes, and nothing else."""
    slug, told = loaded.assignment.slug, tuple(causes)
    validation = Validation(assignment=slug, known_submissions=(), checks=(), complaints=told)
    nothing = SeedRuns(seeds=(), rejected_seeds=(), largest={})
    return ValidationReport(
        validation=validation, trivial=(), seed=loaded.plan.seed, further=nothing
    )


def validate_assignment(
    loaded: LoadedAssignment,
    rehearsal: Rehearsal,
    sandboxes: SandboxPool,
    *,
    jobs: int,
    seeds: int,
    on_known: Callable[[KnownSubmission, float], None],
    machine: TimedMachine,
    builder: Builder,
) -> ValidationReport:
    """Run every known submission in a sandbox, and every trivial submission in this process.

    The solution's checks also run under `seeds` further seeds. `on_known` is called with each known
    submission and the seconds that it took.

    Raises:
        AuthorError: if a known submission or the ledger cannot be read.
    """
    tools = ValidationTools(loaded=loaded, sandboxes=sandboxes, machine=machine, builder=builder)
    runs = [KnownRun(known, tools) for known in load_known_submissions(loaded)]
    ledger = compare_ledger(loaded, [run.known for run in runs])
    measured = _run_all(runs, jobs=jobs, on_known=on_known)
    (solution,) = [one.measurement for one in measured if one.known.kind is Kind.SOLUTION]
    if len(measured) < len(runs):
        return stopped(loaded, _failures(loaded.plan, solution))
    graded = [_grade(one, solution, loaded.plan) for one in measured if not one.lacks]
    report = _report(
        loaded, graded, rehearsal, ledger, seeds=further_seeds(loaded.plan.seed, seeds)
    )
    return replace(report, unvalidated=tuple(_unvalidated(measured)))


def _report(
    loaded: LoadedAssignment,
    graded: Sequence[Graded],
    rehearsal: Rehearsal,
    ledger: LedgerResult,
    *,
    seeds: Sequence[str],
) -> ValidationReport:
    """Return the report on graded submissions, after playing the solution in this process."""
    trivial, further = _play_here(loaded, rehearsal, seeds)
    coverage = measure_coverage(loaded, rehearsal.played)
    found = [
        *_other_complaints(loaded, graded, rehearsal, trivial, further),
        *complain_of_coverage(loaded, coverage),
        *ledger.complaints,
    ]
    validation = build_matrix(
        loaded.assignment.slug,
        [(one.known, one.judgement) for one in graded],
        found,
        cpu_s={one.known.path: one.cpu_s for one in graded},
        wide=frozenset(f"{one.problem}.{check}" for one in coverage for check in one.checks),
    )
    return ValidationReport(
        validation=validation,
        trivial=tuple(trivial),
        seed=loaded.plan.seed,
        further=further,
        coverage=coverage,
        ledger=ledger,
    )


def _unvalidated(measured: Iterable[Measured]) -> Iterator[str]:
    """Yield what this machine lacks a program for, and which."""
    yield from (f"{m.known.kind}/{m.known.name}: no {m.lacks}" for m in measured if m.lacks)
    if not can_make_notebooks():
        yield "starter.ipynb: no jupytext"


def _failures(plan: Plan, solution: Measurement) -> list[str]:
    """Return why the solution fails in the sandbox what it passes in this process, or a target."""
    found: dict[str, list[str]] = {}
    for one in failures(plan, solution):
        why = f"({one.cause.value}: {one.summary}); look at"
        where = f"in the sandbox, and passes it outside {why} limits, `denied` and what it reads"
        target = f"{why} the oracle, and `tolerance` of its [[problem.target]] in assignment.toml"
        found.setdefault(where if one.cases else target, []).append(f"{one.problem}.{one.check}")
    return [f"{', '.join(names)}: the solution fails it {how}" for how, names in found.items()]


def _other_complaints(
    loaded: LoadedAssignment,
    graded: Sequence[Graded],
    rehearsal: Rehearsal,
    trivial: list[TrivialResult],
    further: SeedRuns,
) -> list[str]:
    """Return what must be fixed besides unexpected results of known submissions."""
    solutions = (one for one in graded if one.known.kind is Kind.SOLUTION)
    return [
        *rehearsal.unsteady,
        *([] if rehearsal.unsteady else find_stale(loaded)),  # such a case is stale at once
        *rehearsal.cover.complaints(),
        *(
            f"{p.name}.{c.name}: has no hidden case, so copies of its public answers pass; add one"
            for p in loaded.plan.problems
            for c in p.checks
            if not c.hidden
        ),
        *_complain_of_trivial(trivial),
        *_complain_of_seeds(loaded, further),
        *(complaint for one in solutions for complaint in _too_short(loaded, one.targets)),
        *_complain_of_signatures(loaded),
    ]


def _run_all(
    runs: Sequence[KnownRun], *, jobs: int, on_known: Callable[[KnownSubmission, float], None]
) -> list[Measured]:
    """Run checks and counted targets, `jobs` at a time; then timed targets, one at a time.

    If the solution fails a check, or a target for another reason than its cost, return it alone.
    """
    longest_first = sorted(runs, key=lambda run: not run.has_targets)
    with ThreadPoolExecutor(jobs, thread_name_prefix="validate") as workers:
        counting = [workers.submit(run.count) for run in longest_first]
        try:
            for run in (future.result() for future in as_completed(counting)):
                if run.is_broken_solution:
                    workers.shutdown(cancel_futures=True)
                    return [run.measured]
                if not run.is_timed:
                    on_known(run.known, run.seconds)
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)  # the result is lost already
            raise
    for run in sorted(runs, key=lambda run: run.known.kind is not Kind.SOLUTION):
        if run.is_timed:
            run.time()
            if run.is_broken_solution:
                return [run.measured]
            on_known(run.known, run.seconds)
    return [run.measured for run in runs]


def _grade(measured: Measured, solution: Measurement, plan: Plan) -> Graded:
    """Judge a known submission; problems that it cannot change keep the solution's result."""
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
    return Graded(known=known, judgement=judgement, cpu_s=measured.cpu_s, targets=own.targets)


def _too_short(loaded: LoadedAssignment, targets: tuple[TargetMeasurement, ...]) -> list[str]:
    """Return a complaint for every target whose reference runs are too short to be timed."""
    planned = {(p.name, t.name): t for p in loaded.plan.problems for t in p.targets}
    return [
        f"{one.problem}.{one.target}: the reference takes less than {SPREADS} spreads of as many "
        "null calls at the smallest size; choose larger sizes"
        for one in targets
        if one.forks  # without any it could not be measured: that has a complaint of its own
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
        f"{result.problem}.{check}: its case itself fails on an unexpected reply "
        f"({result.trivial.value}); compare a reply with Expect before you index or unpack it"
        for result in trivial
        for check in result.confused
    ]


def _complain_of_seeds(loaded: LoadedAssignment, further: SeedRuns) -> list[str]:
    slug = loaded.assignment.slug
    return [
        f"{one.check}: the solution fails it under seed {one.seed}, so a whole class graded with "
        f"that seed would fail it ({one.summary}; `grader validate {slug} --seed {one.seed}` "
        "repeats this)"
        for one in further.rejected_seeds
    ]


def _play_here(
    loaded: LoadedAssignment, rehearsal: Rehearsal, seeds: Sequence[str]
) -> tuple[list[TrivialResult], SeedRuns]:
    """Run the solution in this process: with spoiled replies, and under further seeds."""
    solution, harness = rehearsal.solution, rehearsal.harness
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries; in a sandbox they are not shown either
        return lint(loaded, solution, harness, rehearsal.played), play_seeds(
            loaded, solution, harness, seeds, watch=rehearsal.cover.watch
        )
