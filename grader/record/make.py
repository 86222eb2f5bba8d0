"""Joins what the stages gave into one record, and takes a submission out of one again.

Takes: a submission, a plan, a measurement, a judgement. Gives: a `GradeRecord`, and its
`Submission` again. Does not cover: committing it (see `record.store`).
"""

import platform
import sys
import uuid
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from grader import __version__
from grader.advice.kernel_advice import NO_ADVICE, Advice
from grader.errors import UsageError
from grader.intake.submission import Origin, Rejected, Submission
from grader.judge.judgement import Judgement
from grader.measure.measurement import Measurement
from grader.plan.plan import Plan
from grader.record.grade_record import (
    RECORD_SCHEMA_VERSION,
    Environment,
    GradeRecord,
    SubmissionFacts,
)


def make_record(
    submission: Submission | Rejected,
    plan: Plan,
    measurement: Measurement,
    judgement: Judgement,
    advice: Advice = NO_ADVICE,
    *,
    driver: str = "",
    image_id: str = "",
) -> GradeRecord:
    """Return a new record; the store links it to the one before it of the same submission.

    Args:
        submission: what was handed in.
        plan: what was asked.
        measurement: what was seen.
        judgement: what was decided.
        advice: on its kernels.
        driver: release of the GPU's driver; empty on the processor.
        image_id: content address of the container image; empty without a container.
    """
    return GradeRecord(
        schema_version=RECORD_SCHEMA_VERSION,
        record_id=uuid.uuid4().hex,
        previous_id="",
        created_at=datetime.now(UTC).isoformat(),
        submission=_facts(submission),
        plan=plan,
        measurement=measurement,
        judgement=judgement,
        environment=_environment(plan.device, driver=driver, image_id=image_id),
        advice=advice,
    )


def _environment(device: str, *, driver: str, image_id: str) -> Environment:
    return Environment(
        grader_version=__version__,
        python=sys.version.split()[0],
        torch=version("torch"),
        platform=platform.platform(),
        device=device,
        triton=_installed("triton"),
        driver=driver,
        image_id=image_id,
    )


def _installed(package: str) -> str:
    """Return the version of a package; empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def restore_submission(facts: SubmissionFacts) -> Submission:
    """Return the submission that a record was made of, to grade it again.

    What a compiler made of it is not kept: it is compiled anew.

    Raises:
        UsageError: if it was rejected: then there is nothing to grade.
    """
    if not facts.files:
        raise UsageError(
            f"{facts.name} was rejected when it was handed in, so nothing of it can be graded",
            hint="grade the file itself again",
        )
    return Submission(
        name=facts.name,
        sha256=facts.sha256,
        origin=facts.origin,
        entry=facts.entry,
        files=facts.files,
        notices=facts.notices,
        notebook_json=facts.notebook_json,
    )


def _facts(submission: Submission | Rejected) -> SubmissionFacts:
    if isinstance(submission, Rejected):
        return SubmissionFacts(
            name=submission.name,
            sha256=submission.sha256,
            origin=Origin.MODULE,
            entry="",
            files=(),
            notices=(),
            notebook_json="",
        )
    return SubmissionFacts(
        name=submission.name,
        sha256=submission.sha256,
        origin=submission.origin,
        entry=submission.entry,
        files=submission.files,
        notices=submission.notices,
        notebook_json=submission.notebook_json,
    )
