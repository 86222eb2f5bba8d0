"""Plays the solution's checks under further seeds: what hangs on the seed fails a whole class.

Takes: a course, the solution's namespace. Gives: `SeedRuns`. Does not cover: targets, other
submissions (both take minutes, this takes seconds a seed).

Every course draws its hidden cases from one secret seed. A case that the solution fails under one
seed in fifty is seldom seen by a proof under a single one, and then costs points that nobody can
earn. The same runs say how near the solution comes to each tolerance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from grader.judge.judgement import Verdict
from grader.judge.rule import allowed_error
from grader.measure.compare import Mismatch
from grader.measure.instances import Instance, instances
from grader.measure.measurement import CaseMeasurement
from grader.measure.observed import ValueObservation
from grader.plan.course import Course
from grader.plan.plan import Plan, PlannedCheck, PlannedProblem
from grader.student.local_box import LocalBox
from grader.student.local_ranks import LocalRanks
from grader.validate.local_run import Namespace, drive_case, judge_cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlucky:
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
        unlucky: the checks that it failed.
        largest: largest error as a share of what is allowed, by `problem.check`, of the checks
            that allow any.
    """

    seeds: tuple[str, ...]
    unlucky: tuple[Unlucky, ...]
    largest: Mapping[str, float]


def further_seeds(seed: str, count: int) -> tuple[str, ...]:
    """Return seeds that follow from one, so that a run can be repeated."""
    return tuple(f"{seed}-{number}" for number in range(1, count + 1))


def play_seeds(
    course: Course, solution: Namespace, harness: Namespace, seeds: Sequence[str]
) -> SeedRuns:
    """Run the hidden cases of every check on the solution, under each seed.

    Args:
        course: the assignment with its cases; its own seed is not used.
        solution: namespace of the reference solution.
        harness: namespace of the harness; empty if there is none.
        seeds: what hidden cases are drawn from.
    """
    unlucky: list[Unlucky] = []
    largest: dict[str, float] = {}
    for seed in seeds:
        plan = _hidden_alone(course.plan, seed)
        for problem in plan.problems:
            cases = [
                _play(plan, problem, instance, solution, harness)
                for instance in instances(problem, course.cases)
            ]
            unlucky += [
                Unlucky(check=f"{problem.name}.{c.check}", seed=seed, summary=c.summary)
                for c in judge_cases(plan, problem, cases)
                if c.verdict is not Verdict.PASS
            ]
            for check in problem.checks:
                share = _largest_share(check, [case for case in cases if case.check == check.name])
                name = f"{problem.name}.{check.name}"
                if share is not None:
                    largest[name] = max(share, largest.get(name, 0.0))
    return SeedRuns(seeds=tuple(seeds), unlucky=tuple(unlucky), largest=largest)


def _hidden_alone(plan: Plan, seed: str) -> Plan:
    """Return the plan under a seed, without public cases: those are always the same."""
    problems = tuple(
        replace(problem, checks=tuple(replace(check, public=0) for check in problem.checks))
        for problem in plan.problems
    )
    return replace(plan, seed=seed, problems=problems)


def _play(
    plan: Plan,
    problem: PlannedProblem,
    instance: Instance,
    solution: Namespace,
    harness: Namespace,
) -> CaseMeasurement:
    if not problem.ranks:
        return drive_case(plan, instance, LocalBox(solution, harness))
    ranks = LocalRanks(solution, harness, most=problem.ranks)
    try:
        return drive_case(plan, instance, ranks)
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
