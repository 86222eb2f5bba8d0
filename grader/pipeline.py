"""The whole way of one submission: intake, sandbox and measurement, judgement, record.

Takes: what was handed in, a course, walls and a store. Gives: a committed `GradeRecord`. Does not
cover: a class of them (see `batch`).
"""

from grader.intake import Handed, Rejected, hash_of, take_in
from grader.judge.judge import judge, reject
from grader.judge.judgement import Judgement
from grader.measure.measurement import Measurement
from grader.measure.run import measure, measurement_of_failure, nothing_measured
from grader.plan.course import Course
from grader.record.grade_record import GradeRecord
from grader.record.make import make_record
from grader.record.store import RecordStore
from grader.sandbox.pool import WallPool


def grade(handed: Handed, course: Course, walls: WallPool, store: RecordStore) -> GradeRecord:
    """Grade one submission and commit its record.

    Raises:
        StoreError: if the record could not be committed.
    """
    taken = take_in(handed, slug=course.assignment.slug)
    measurement: Measurement
    judgement: Judgement
    if isinstance(taken, Rejected):
        measurement = nothing_measured(walls.sandbox, walls.isolation)
        judgement = reject(course.plan, f"{taken.message} {taken.hint}".strip())
    else:
        measurement = measure(taken, course, walls=walls)
        judgement = judge(course.plan, measurement)
    record = make_record(taken, course.plan, measurement, judgement, store=store)
    store.commit(record)
    return record


def record_failure(
    handed: Handed, course: Course, walls: WallPool, store: RecordStore, *, error: Exception
) -> GradeRecord:
    """Commit a failure of ours: UNGRADED with its reason, never a zero.

    Raises:
        StoreError: if the record could not be committed.
    """
    taken = Rejected(name=handed.name, sha256=hash_of(handed), message="")
    measurement = measurement_of_failure(course, walls, error)
    judgement = judge(course.plan, measurement)
    record = make_record(taken, course.plan, measurement, judgement, store=store)
    store.commit(record)
    return record
