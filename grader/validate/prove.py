"""Grades every specimen of an assignment and joins what follows from it.

Takes: a course and walls. Gives: a `Proof`. Does not cover: printing it (see `commands.validate`).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from grader.author.declare import load_folder
from grader.judge.judge import judge
from grader.judge.judgement import Judgement
from grader.measure.run import measure
from grader.plan.course import Course
from grader.sandbox.pool import WallPool
from grader.validate.matrix import Validation, build_matrix
from grader.validate.signature import compare_signatures
from grader.validate.specimen import Specimen, load_specimens
from grader.validate.triviality import TrivialResult, lint


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All that is known of one assignment.

    Attributes:
        validation: the specimens, the kill matrix and the complaints.
        trivial: what became of trivial submissions.
    """

    validation: Validation
    trivial: tuple[TrivialResult, ...]


def prove(
    course: Course, walls: WallPool, *, jobs: int, on_specimen: Callable[[Specimen], None]
) -> Proof:
    """Run every specimen behind a wall, and every trivial submission without one.

    Raises:
        AuthorError: if a specimen cannot be read.
    """
    specimens = load_specimens(course)

    def one(specimen: Specimen) -> tuple[Specimen, Judgement]:
        measurement = measure(specimen.submission(), course, walls=walls)
        on_specimen(specimen)
        return specimen, judge(course.plan, measurement)

    with ThreadPoolExecutor(jobs, thread_name_prefix="validate") as workers:
        judged = list(workers.map(one, specimens))
    trivial = _lint(course)
    complaints = [
        f"{result.problem}: a submission that answers with {result.trivial.value} passes every "
        "check; the problem cannot be graded"
        for result in trivial
        if result.applied and not result.caught
    ]
    complaints += [
        f"{result.problem}.{check}: its case fails on a reply of another form "
        f"({result.trivial.value}); compare a reply with Expect before taking it apart"
        for result in trivial
        for check in result.confused
    ]
    exports = tuple(name for problem in course.plan.problems for name in problem.exports)
    complaints += compare_signatures(
        course.folder / "starter.py", course.reference / "solution.py", exports
    )
    return Proof(
        validation=build_matrix(course.assignment.slug, judged, complaints),
        trivial=tuple(trivial),
    )


def _lint(course: Course) -> list[TrivialResult]:
    solution = vars(load_folder(course.reference, "solution"))
    has_harness = (course.folder / "harness.py").is_file()
    harness = vars(load_folder(course.folder, "harness")) if has_harness else {}
    return lint(course, solution, harness)
