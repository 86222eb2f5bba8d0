"""Runs cases in the author's own process: no wall is needed for trusted code.

Takes: a course and a box. Gives: the solution, what a case measured, and judgements. Does not
cover: what is run (see `validate.triviality` and `validate.seeds`).
"""

import importlib
from collections.abc import Mapping, Sequence

from grader.author.declare import load_folder
from grader.author.interpreted import load_solution
from grader.author.steps import Value
from grader.judge.judge import judge
from grader.judge.judgement import CheckJudgement
from grader.measure.box import Box
from grader.measure.drive import drive
from grader.measure.instances import Instance
from grader.measure.measurement import CaseMeasurement, Measurement, ProblemMeasurement
from grader.plan.course import Course
from grader.plan.plan import Plan, PlannedProblem

Namespace = Mapping[str, Value]


def load_here(course: Course) -> tuple[Namespace, Namespace]:
    """Import the solution and the harness into this process; without a harness that is empty.

    Raises:
        AuthorError: if one of them cannot be imported.
    """
    for module in course.plan.limits.preload:  # or every fork would import it
        importlib.import_module(module)
    solution = vars(load_solution(course.reference))
    has_harness = (course.folder / "harness.py").is_file()
    return solution, vars(load_folder(course.folder, "harness")) if has_harness else {}


def drive_case(plan: Plan, instance: Instance, box: Box) -> CaseMeasurement:
    """Run one case in a box."""
    return drive(
        instance.steps(plan),
        box,
        check=instance.maker.check,
        index=instance.index,
        public=instance.public,
    )


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
