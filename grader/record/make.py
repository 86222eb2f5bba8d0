"""Joins what the stages gave into one record.

Takes: a submission, a plan, a measurement, a judgement. Gives: a `GradeRecord`. Does not cover:
committing it (see `record.store`).
"""

import platform
import sys
import uuid
from datetime import UTC, datetime
from importlib.metadata import version

from grader import __version__
from grader.advice.kernel_advice import NO_ADVICE, Advice
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
) -> GradeRecord:
    """Return a new record; the store links it to the one before it of the same submission."""
    return GradeRecord(
        schema_version=RECORD_SCHEMA_VERSION,
        record_id=uuid.uuid4().hex,
        previous_id="",
        created_at=datetime.now(UTC).isoformat(),
        submission=_facts(submission),
        plan=plan,
        measurement=measurement,
        judgement=judgement,
        environment=Environment(
            grader_version=__version__,
            python=sys.version.split()[0],
            torch=version("torch"),
            platform=platform.platform(),
            device=plan.device,
        ),
        advice=advice,
    )


def _facts(submission: Submission | Rejected) -> SubmissionFacts:
    if isinstance(submission, Rejected):
        return SubmissionFacts(
            name=submission.name,
            sha256=submission.sha256,
            origin=Origin.MODULE,
            source="",
            notices=(),
            notebook_json="",
            source_cells=(),
        )
    entry = submission.files[0]
    return SubmissionFacts(
        name=submission.name,
        sha256=submission.sha256,
        origin=submission.origin,
        source=entry.text,
        notices=submission.notices,
        notebook_json=submission.notebook_json,
        source_cells=tuple(line.cell for line in entry.cell_lines),
    )
