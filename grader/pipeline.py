"""The whole way of one submission: intake, sandbox and measurement, judgement, record.

Takes: what was handed in, a course, walls and a store. Gives: a committed `GradeRecord`. Does not
cover: a class of them (see `batch`).
"""

from dataclasses import replace

from grader.advice.adviser import Adviser
from grader.advice.kernel_advice import NO_ADVICE
from grader.assignment.loaded import LoadedAssignment
from grader.assignment.table import Language
from grader.correctness.run import measure, measurement_of_failure, nothing_measured
from grader.cuda_cpp.builder import Builder
from grader.intake import Rejected, Submission, SubmissionSource, load_submission
from grader.judge.judge import judge, reject, sound_problems
from grader.performance.measure.targets import measure_targets
from grader.record.grade_record import GradeRecord, make_record
from grader.record.store import RecordStore
from grader.sandbox.pool import SandboxPool
from grader.worker.machine import TimedMachine


def load(source: SubmissionSource, loaded: LoadedAssignment) -> Submission | Rejected:
    """Read what was handed in; nothing of it is executed."""
    assignment = loaded.assignment
    return load_submission(source, slug=assignment.slug, cuda=Language.CUDA in assignment.languages)


def grade(
    submission: Submission | Rejected,
    loaded: LoadedAssignment,
    *,
    sandboxes: SandboxPool,
    machine: TimedMachine,
    builder: Builder,
    adviser: Adviser,
    store: RecordStore,
) -> GradeRecord:
    """Measure, judge and commit one submission; advice stands beside the judgement.

    Raises:
        StoreError: if the record could not be committed.
    """
    if isinstance(submission, Rejected):
        measurement = nothing_measured(sandboxes)
        judgement = reject(loaded.plan, submission.text)
        advice = NO_ADVICE
    else:
        built = builder.build(submission)
        work = built.submission
        measurement = measure(
            work, loaded, sandboxes=sandboxes, machine=machine, faults=built.faults
        )
        sound = sound_problems(judge(loaded.plan, measurement))
        targets = measure_targets(work, loaded, sound, sandboxes=sandboxes, machine=machine)
        measurement = replace(measurement, targets=targets)
        judgement = judge(loaded.plan, measurement)
        advice = adviser.advise(submission, compiler_output=built.compiler_output)
    record = make_record(
        submission,
        loaded.plan,
        measurement,
        judgement,
        advice,
        driver=machine.driver_release,
        image_id=sandboxes.image_id,
    )
    return store.commit(record)


def failure_record(
    submission: Submission | Rejected,
    loaded: LoadedAssignment,
    error: Exception,
    *,
    sandbox: str,
    isolation: str,
    driver: str,
) -> GradeRecord:
    """Return the record of a failure of ours: UNGRADED with its reason, never a zero."""
    measurement = measurement_of_failure(loaded, error, sandbox=sandbox, isolation=isolation)
    judgement = judge(loaded.plan, measurement)
    return make_record(submission, loaded.plan, measurement, judgement, driver=driver)
