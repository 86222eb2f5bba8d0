"""Grades one submission: measure it in a sandbox, judge, and commit a record.

It is loaded in `preflight`. A class of submissions, with its reports, is graded by `batch`.
"""

import time
from dataclasses import dataclass, replace

from grader.advice.adviser import Adviser
from grader.assignment.loaded import LoadedAssignment
from grader.correctness.run import measure, measurement_of_failure, nothing_measured
from grader.cuda_cpp.builder import Builder
from grader.intake import Rejected, Submission
from grader.judge.judge import (
    judge,
    judge_checks,
    judge_targets,
    reject,
    sound_problems,
    sum_up,
)
from grader.performance.measure.targets import measure_targets
from grader.record.grade_record import GradeRecord, make_record
from grader.record.store import RecordStore
from grader.sandbox.pool import SandboxPool
from grader.worker.machine import TimedMachine


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What is open while submissions are graded."""

    sandboxes: SandboxPool
    machine: TimedMachine
    builder: Builder
    adviser: Adviser
    store: RecordStore


def grade(submission: Submission | Rejected, loaded: LoadedAssignment, tools: Tools) -> GradeRecord:
    """Measure, judge and commit one submission; advice is recorded but never changes points.

    Raises:
        StoreError: if the record could not be committed.
    """
    plan, sandboxes, machine = loaded.plan, tools.sandboxes, tools.machine
    begin_ns = time.perf_counter_ns()
    if isinstance(submission, Rejected):
        rejected = make_record(
            submission,
            plan,
            nothing_measured(sandboxes.sandbox, sandboxes.isolation),
            reject(plan, submission.text),
            driver=machine.driver_release,
            image_id=sandboxes.image_id,
        )
        return tools.store.commit(rejected)
    built = tools.builder.build(submission)
    work, faults = built.submission, built.faults
    measurement = measure(work, loaded, sandboxes=sandboxes, machine=machine, faults=faults)
    checks = judge_checks(plan, measurement)
    sound = sound_problems(checks)
    work = replace(work, sliced=measurement.sliced)
    samples = measure_targets(work, loaded, sound, sandboxes=sandboxes, machine=machine)
    wall_ns = time.perf_counter_ns() - begin_ns
    measurement = replace(measurement, targets=samples, wall_ns=wall_ns)
    targets = judge_targets(plan, checks, measurement)
    record = make_record(
        submission,
        plan,
        measurement,
        sum_up(plan, checks, targets),
        tools.adviser.advise(submission, compiler_output=built.compiler_output),
        driver=machine.driver_release,
        image_id=sandboxes.image_id,
    )
    return tools.store.commit(record)


def failure_record(
    submission: Submission | Rejected,
    loaded: LoadedAssignment,
    error: Exception,
    *,
    sandbox: str,
    isolation: str,
    driver: str,
) -> GradeRecord:
    """Return the record of a failure of the grader: UNGRADED with its reason, never a zero."""
    measurement = measurement_of_failure(loaded, error, sandbox=sandbox, isolation=isolation)
    judgement = judge(loaded.plan, measurement)
    return make_record(submission, loaded.plan, measurement, judgement, driver=driver)
