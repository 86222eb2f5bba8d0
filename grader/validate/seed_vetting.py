"""Plays the solution's checks under further seeds: what hangs on the seed fails a whole class.

Takes: a course, the solution's namespace. Gives: `SeedRuns`. Does not cover: targets, other
submissions (both take minutes, this takes seconds a seed).

Every course draws its hidden cases from one secret seed. A case that the solution fails under one
seed in fifty is seldom seen by a proof under a single one, and then costs points that nobody can
earn. The same runs say how near the solution comes to each tolerance.
"""

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from grader.assignment.declare import load_folder, load_solution
from grader.assignment.loaded import LoadedAssignment, new_seed
from grader.assignment.plan import Plan, PlannedCheck, PlannedProblem
from grader.assignment.steps import Value
from grader.correctness.instances import Instance, instances
from grader.errors import AuthorError
from grader.evidence.comparison import Mismatch
from grader.evidence.measurement import Measurement, ProblemMeasurement
from grader.evidence.observations import CaseMeasurement, ValueObservation
from grader.judge.judge import judge
from grader.judge.judgement import CheckJudgement, Verdict
from grader.judge.rule import allowed_error
from grader.student.local_ranks import LocalRanks
from grader.student.local_worker import LocalWorker

Namespace = Mapping[str, Value]


def load_here(loaded: LoadedAssignment) -> tuple[Namespace, Namespace]:
    """Import the solution and the harness into this process; without a harness that is empty.

    Raises:
        AuthorError: if one of them cannot be imported.
    """
    for module in loaded.plan.limits.preload:  # or every fork would import it
        importlib.import_module(module)
    solution = vars(load_solution(loaded.reference))
    has_harness = (loaded.folder / "harness.py").is_file()
    return solution, vars(load_folder(loaded.folder, "harness")) if has_harness else {}


def judge_cases(
    plan: Plan, problem: PlannedProblem, cases: Sequence[CaseMeasurement]
) -> list[CheckJudgement]:
    """Judge the checks of a problem that have cases; targets need runs."""
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
        seed: the seed.
        summary: what went wrong.
    """

    check: str
    seed: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRuns:
    """What became of the solution's hidden cases under further seeds.

    Attributes:
        seeds: the seeds.
        rejected_seeds: the checks that it failed.
        largest: largest error as a share of what is allowed, by `problem.check`, of the checks
            that allow any.
    """

    seeds: tuple[str, ...]
    rejected_seeds: tuple[RejectedSeed, ...]
    largest: Mapping[str, float]


def further_seeds(seed: str, count: int) -> tuple[str, ...]:
    """Return seeds that follow from one, so that a run can be repeated."""
    return tuple(f"{seed}-{number}" for number in range(1, count + 1))


def play_seeds(
    loaded: LoadedAssignment, solution: Namespace, harness: Namespace, seeds: Sequence[str]
) -> SeedRuns:
    """Run the hidden cases of every check on the solution, under each seed.

    Args:
        loaded: the assignment with its cases; its own seed is not used.
        solution: namespace of the reference solution.
        harness: namespace of the harness; empty if there is none.
        seeds: what hidden cases are drawn from.
    """
    rejected_seeds: list[RejectedSeed] = []
    largest: dict[str, float] = {}
    for seed in seeds:
        plan = _hidden_alone(loaded.plan, seed)
        for problem in plan.problems:
            cases = [
                _play(problem, instance, solution, harness)
                for instance in instances(plan, problem, loaded.cases)
            ]
            rejected_seeds += [
                RejectedSeed(check=f"{problem.name}.{c.check}", seed=seed, summary=c.summary)
                for c in judge_cases(plan, problem, cases)
                if c.verdict is not Verdict.PASS
            ]
            for check in problem.checks:
                share = _largest_share(check, [case for case in cases if case.check == check.name])
                name = f"{problem.name}.{check.name}"
                if share is not None:
                    largest[name] = max(share, largest.get(name, 0.0))
    return SeedRuns(seeds=tuple(seeds), rejected_seeds=tuple(rejected_seeds), largest=largest)


def _hidden_alone(plan: Plan, seed: str) -> Plan:
    """Return the plan under a seed, without public cases: those are always the same."""
    problems = tuple(
        replace(problem, checks=tuple(replace(check, public=0) for check in problem.checks))
        for problem in plan.problems
    )
    return replace(plan, seed=seed, problems=problems)


def _play(
    problem: PlannedProblem, instance: Instance, solution: Namespace, harness: Namespace
) -> CaseMeasurement:
    if not problem.ranks:
        return instance.run(LocalWorker(solution, harness))
    ranks = LocalRanks(solution, harness, most=problem.ranks)
    try:
        return instance.run(ranks)
    finally:
        ranks.close()


def _largest_share(check: PlannedCheck, cases: Sequence[CaseMeasurement]) -> float | None:
    """Return the largest error divided by what is allowed; None where nothing is allowed."""
    shares = [
        seen.comparison.error / allowed
        for case in cases
        for seen in case.observations
        if isinstance(seen, ValueObservation)
        and seen.comparison.mismatch is Mismatch.NONE
        and (allowed := allowed_error(seen.comparison, check.tolerance)) > 0
    ]
    return max(shares, default=None)


TRIES = 4


def with_vetted_seed(
    loaded: LoadedAssignment,
    *,
    on_rejected_seed: Callable[[Sequence[RejectedSeed]], None],
    draw: Callable[[], str] = new_seed,
) -> LoadedAssignment:
    """Return the course under its own seed, or under the first one drawn that does no harm.

    A course without a solution is returned as it is: there is nothing to try a seed on.

    Args:
        loaded: the assignment; its solution runs in this process.
        on_rejected_seed: told what the solution failed, each time that another seed is drawn.
        draw: gives a new secret seed.

    Raises:
        AuthorError: if the solution cannot be imported, or fails under `TRIES` seeds: then it is
            not the seed.
    """
    if not (loaded.reference / "solution.py").is_file():
        return loaded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries; boxes keep them to themselves as well
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
        hint=f"`grader validate {loaded.assignment.slug}` says more; `--seed` takes a seed that is "
        "not tried",
    )
