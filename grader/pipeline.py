"""The whole way of one submission: intake, sandbox and measurement, judgement, record.

Takes: what was handed in, a course, walls and a store. Gives: a committed `GradeRecord`. Does not
cover: a class of them (see `batch`).
"""

from grader.intake import Handed, Rejected, Submission, take_in
from grader.judge.judge import judge, reject
from grader.measure.run import measure, measurement_of_failure, nothing_measured
from grader.plan.course import Course
from grader.record.grade_record import GradeRecord
from grader.record.make import make_record
from grader.record.store import RecordStore
from grader.sandbox.pool import WallPool


def take(handed: Handed, course: Course) -> Submission | Rejected:
    """Read what was handed in; nothing of it is executed."""
    return take_in(handed, slug=course.assignment.slug)


def grade(
    taken: Submission | Rejected, course: Course, *, walls: WallPool, store: RecordStore
) -> GradeRecord:
    """Measure, judge and commit one submission.

    Raises:
        StoreError: if the record could not be committed.
    """
    if isinstance(taken, Rejected):
        measurement = nothing_measured(walls)
        judgement = reject(course.plan, f"{taken.message}\n{taken.hint}".strip())
    else:
        measurement = measure(taken, course, walls=walls)
        judgement = judge(course.plan, measurement)
    return store.commit(make_record(taken, course.plan, measurement, judgement))


def record_failure(
    name: str, error: Exception, course: Course, *, walls: WallPool, store: RecordStore
) -> GradeRecord:
    """Commit a failure of ours: UNGRADED with its reason, never a zero.

    Raises:
        StoreError: if the record could not be committed.
    """
    measurement = measurement_of_failure(course, walls, error)
    judgement = judge(course.plan, measurement)
    unknown = Rejected(name=name, sha256="", message="")
    return store.commit(make_record(unknown, course.plan, measurement, judgement))
