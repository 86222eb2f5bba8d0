"""The whole way of one submission: intake, sandbox and measurement, judgement, record.

Takes: what was handed in, a course, walls and a store. Gives: a committed `GradeRecord`. Does not
cover: a class of them (see `batch`).
"""

from dataclasses import replace

from grader.advice.adviser import Adviser
from grader.advice.kernel_advice import NO_ADVICE
from grader.intake import Handed, Rejected, Submission, take_in
from grader.judge.judge import judge, reject, sound_problems
from grader.measure.builder import Builder
from grader.measure.machine import TimedMachine
from grader.measure.run import measure, measurement_of_failure, nothing_measured
from grader.measure.targets import measure_targets
from grader.plan.course import Course
from grader.plan.languages import Language
from grader.record.grade_record import GradeRecord
from grader.record.make import make_record
from grader.record.store import RecordStore
from grader.sandbox.pool import WallPool


def take(handed: Handed, course: Course) -> Submission | Rejected:
    """Read what was handed in; nothing of it is executed."""
    assignment = course.assignment
    return take_in(handed, slug=assignment.slug, cuda=Language.CUDA in assignment.languages)


def grade(
    taken: Submission | Rejected,
    course: Course,
    *,
    walls: WallPool,
    machine: TimedMachine,
    builder: Builder,
    adviser: Adviser,
    store: RecordStore,
) -> GradeRecord:
    """Measure, judge and commit one submission; advice stands beside the judgement.

    Raises:
        StoreError: if the record could not be committed.
    """
    if isinstance(taken, Rejected):
        measurement = nothing_measured(walls)
        judgement = reject(course.plan, f"{taken.message}\n{taken.hint}".strip())
        advice = NO_ADVICE
    else:
        built = builder.build(taken)
        work = built.submission
        measurement = measure(work, course, walls=walls, machine=machine, faults=built.faults)
        sound = sound_problems(judge(course.plan, measurement))
        targets = measure_targets(work, course, sound, walls=walls, machine=machine)
        measurement = replace(measurement, targets=targets)
        judgement = judge(course.plan, measurement)
        advice = adviser.advise(taken, said=built.said)
    record = make_record(
        taken,
        course.plan,
        measurement,
        judgement,
        advice,
        driver=machine.driver_release,
        image_id=walls.image_id,
    )
    return store.commit(record)


def failure_record(
    taken: Submission | Rejected,
    course: Course,
    error: Exception,
    *,
    sandbox: str,
    isolation: str,
    driver: str,
) -> GradeRecord:
    """Return the record of a failure of ours: UNGRADED with its reason, never a zero."""
    measurement = measurement_of_failure(course, error, sandbox=sandbox, isolation=isolation)
    judgement = judge(course.plan, measurement)
    return make_record(taken, course.plan, measurement, judgement, driver=driver)
