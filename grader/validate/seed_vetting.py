"""Runs the solution's checks under further seeds: a check that depends on the seed is unfair.

All hidden cases of a class are drawn from one secret seed. If the reference fails for 1 seed in 50,
one validation run will probably miss it, and a whole class loses points that nobody could earn.
The same runs show how near the solution's errors come to each tolerance.

A seed takes seconds. Targets and other submissions would take minutes, so they are left out.
"""

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from grader.assignment.declare import load_harness, load_solution
from grader.assignment.loaded import LoadedAssignment, new_seed
from grader.assignment.plan import Plan, PlannedCheck, PlannedProblem
from grader.assignment.steps import Step, tap
from grader.correctness.instances import Instance, instances
from grader.errors import AuthorError
from grader.evidence.comparison import Mismatch
from grader.evidence.measurement import Measurement, ProblemMeasurement
from grader.evidence.observations import CaseMeasurement, ValueObservation
from grader.judge.judge import judge
from grader.judge.judgement import CheckJudgement, Verdict
from grader.judge.rule import allowed_error
from grader.student.local_ranks import Namespace, local_worker

TRIES = 4
"""Seeds that are tried before the solution is blamed."""


def load_here(loaded: LoadedAssignment) -> tuple[Namespace, Namespace]:
    """Import the solution and the harness into this process; the harness may be empty.

    Raises:
        AuthorError: if one of them cannot be imported.
    """
    for module in loaded.plan.limits.preload:  # else every fork of a rank would import it
        importlib.import_module(module)
    return vars(load_solution(loaded.reference)), load_harness(loaded.folder)


def judge_cases(
    plan: Plan, problem: PlannedProblem, cases: Sequence[CaseMeasurement]
) -> list[CheckJudgement]:
    """Judge the checks of a problem by their cases; its targets are left out."""
    measured = ProblemMeasurement(
        problem=problem.name, cases=tuple(cases), output="", hidden_output="", children=0
    )
    measurement = Measurement(
        sandbox="none", isolation="warm", layers=(), problems=(measured,), wall_ns=0
    )
    ran = {case.check for case in cases}
    judged = judge(plan, measurement).checks
    return [c for c in judged if c.problem == problem.name and c.check in ran]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedSeed:
    """A check that the solution fails under a seed.

    Attributes:
        check: `problem.check`.
        summary: what went wrong.
    """

    check: str
    seed: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRuns:
    """Results of the solution's hidden cases under further seeds.

    Attributes:
        rejected_seeds: the checks that it failed, each with the seed.
        largest: largest error divided by the tolerance, by `problem.check`; only checks with a
            tolerance.
    """

    seeds: tuple[str, ...]
    rejected_seeds: tuple[RejectedSeed, ...]
    largest: Mapping[str, float]


def further_seeds(seed: str, count: int) -> tuple[str, ...]:
    """Return further seeds derived from one seed, so that a run can be repeated."""
    return tuple(f"{seed}-{number}" for number in range(1, count + 1))


def play_seeds(
    loaded: LoadedAssignment,
    solution: Namespace,
    harness: Namespace,
    seeds: Sequence[str],
    *,
    watch: Callable[[Instance, Step], None] = lambda instance, step: None,
) -> SeedRuns:
    """Run the hidden cases of every check on the solution, under each seed of `seeds` alone.

    `watch` is told of each step before it runs.
    """

    def play(problem: PlannedProblem, instance: Instance) -> CaseMeasurement:
        def on_step(step: Step) -> Step:
            watch(instance, step)
            return step

        worker = local_worker(problem.ranks, solution, harness)
        return instance.run(worker, tap(instance.steps(), on_step))

    rejected: list[RejectedSeed] = []
    largest: dict[str, float] = {}
    for seed in seeds:
        plan = _hidden_alone(loaded.plan, seed)
        for problem in plan.problems:
            cases = [play(problem, one) for one in instances(plan, problem, loaded.cases)]
            rejected += [
                RejectedSeed(check=f"{problem.name}.{c.check}", seed=seed, summary=c.summary)
                for c in judge_cases(plan, problem, cases)
                if c.verdict is not Verdict.PASS
            ]
            for check in problem.checks:
                share = _largest_share(check, [case for case in cases if case.check == check.name])
                name = f"{problem.name}.{check.name}"
                if share is not None:
                    largest[name] = max(share, largest.get(name, 0.0))
    return SeedRuns(seeds=tuple(seeds), rejected_seeds=tuple(rejected), largest=largest)


def _hidden_alone(plan: Plan, seed: str) -> Plan:
    """Return the plan under a seed and without public cases, which are the same for every seed."""
    problems = tuple(
        replace(problem, checks=tuple(replace(check, public=0) for check in problem.checks))
        for problem in plan.problems
    )
    return replace(plan, seed=seed, problems=problems)


def _largest_share(check: PlannedCheck, cases: Sequence[CaseMeasurement]) -> float | None:
    """Return the largest error divided by the tolerance; None if no error is allowed."""
    shares = [
        seen.comparison.error / allowed
        for case in cases
        for seen in case.observations
        if isinstance(seen, ValueObservation)
        and seen.comparison.mismatch is Mismatch.NONE
        and (allowed := allowed_error(seen.comparison, check.tolerance)) > 0
    ]
    return max(shares, default=None)


def with_vetted_seed(
    loaded: LoadedAssignment,
    *,
    on_rejected_seed: Callable[[Sequence[RejectedSeed]], None],
    draw: Callable[[], str] = new_seed,
) -> LoadedAssignment:
    """Return the assignment with a seed under which the solution passes every hidden case.

    This is its own seed if possible, else a new one. Without a solution the seed is not checked.

    Args:
        loaded: its solution runs in this process.
        on_rejected_seed: called with the failed checks, each time that another seed is drawn.
        draw: returns a new secret seed.

    Raises:
        AuthorError: if the solution cannot be imported, or fails under `TRIES` seeds, so that the
            seed is not the reason.
    """
    if not (loaded.reference / "solution.py").is_file():
        return loaded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries; in a sandbox they are not shown either
        solution, harness = load_here(loaded)
        for left in reversed(range(TRIES)):
            seeds = (loaded.plan.seed,)
            rejected = play_seeds(loaded, solution, harness, seeds).rejected_seeds
            if not rejected:
                return loaded
            if left:
                on_rejected_seed(rejected)
                loaded = replace(loaded, plan=replace(loaded.plan, seed=draw()))
    names = ", ".join(dict.fromkeys(one.check for one in rejected))
    raise AuthorError(
        f"{loaded.reference / 'solution.py'}: expected a solution that passes every hidden case, "
        f"found that it fails {names} under the last of {TRIES} seeds, and some check under each "
        f"of the others ({rejected[0].summary})",
        hint=f"`grader validate {loaded.assignment.slug}` shows details; a seed that you give "
        "with `--seed` is not checked",
    )
