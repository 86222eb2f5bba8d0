"""The record of one grade: everything needed to read, defend and repeat it.

Records are for the course staff only: they hold the seed and the expected values of hidden cases.
`record.store` keeps them. Their JSON is plain (RFC 8259). It has no numbers for infinity and NaN,
so these are written as the strings `"Infinity"`, `"-Infinity"` and `"NaN"`.
"""

import platform
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from cattrs.strategies import configure_tagged_union

from grader import __version__
from grader.advice.kernel_advice import NO_ADVICE, Advice
from grader.assignment.plan import Plan
from grader.evidence.measurement import Measurement
from grader.evidence.observations import ErrorObservation, Observation, ValueObservation
from grader.intake.submission import Origin, Rejected, SourceFile, Submission
from grader.judge.judgement import Judgement
from grader.record.run_folder import RECORD_SCHEMA_VERSION
from grader.strict import json_converter, read_json, write_json

T = TypeVar("T")

_CONVERTER = json_converter()
configure_tagged_union(
    Observation,
    _CONVERTER,
    tag_name="kind",
    tag_generator=lambda kind: {ValueObservation: "value", ErrorObservation: "error"}[kind],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionFacts:
    """What is kept of a submission: all that grading it again needs; libraries are built again.

    Attributes:
        sha256: hash of the bytes that were handed in.
        entry: name of the entry module; empty for a rejected submission.
        files: all source files as they were in the sandbox, the entry first; none if rejected.
        notices: what the student was told when the file was read.
        notebook_json: the notebook, outputs stripped; empty for a module.
    """

    name: str
    sha256: str
    origin: Origin
    entry: str
    files: tuple[SourceFile, ...]
    notices: tuple[str, ...]
    notebook_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Versions and machine that a grade was made with.

    Attributes:
        python: version of the judge's Python; torch and triton are the judge's, too.
        platform: operating system with its release, and machine type.
        device: `cpu`, or the name of the GPU.
        triton: version of Triton; empty where there is none.
        driver: release of the GPU's driver; empty on the processor.
        image_id: content address of the container image; empty without a container.
    """

    grader_version: str
    python: str
    torch: str
    platform: str
    device: str
    triton: str
    driver: str
    image_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeRecord:
    """One grade, append-only.

    Attributes:
        previous_id: record that this one replaces; empty for the first.
        created_at: ISO 8601 in UTC.
        plan: what was asked, with the secret seed.
        measurement: what was measured; no problems for a rejected submission.
        advice: on Triton kernels, from inside the sandbox; nothing else here depends on it. A
            record without this field is read as one without advice.
    """

    schema_version: int
    record_id: str
    previous_id: str
    created_at: str
    submission: SubmissionFacts
    plan: Plan
    measurement: Measurement
    judgement: Judgement
    environment: Environment
    advice: Advice = NO_ADVICE


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
    """Return a new record; the store links it to the previous one of the same submission.

    `driver` and `image_id` are as in `Environment`.
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
        environment=Environment(
            grader_version=__version__,
            python=sys.version.split()[0],
            torch=version("torch"),
            platform=platform.platform(),
            device=plan.device,
            triton=_installed("triton"),
            driver=driver,
            image_id=image_id,
        ),
        advice=advice,
    )


def _installed(package: str) -> str:
    """Return the version of a package; empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _facts(submission: Submission | Rejected) -> SubmissionFacts:
    if isinstance(submission, Rejected):
        submission = Submission(
            name=submission.name, sha256=submission.sha256, origin=Origin.MODULE, entry="", files=()
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


def to_json(record: object, *, indent: int | None = None) -> str:
    """Return the JSON form of a record; it can always be encoded as UTF-8."""
    return write_json(_CONVERTER, record, indent=indent)


def from_json(kind: type[T], text: str) -> T:
    """Return the record of class `kind` that `text` holds.

    Raises:
        StoreError: if the text is not the JSON form of such a record.
    """
    return read_json(_CONVERTER, kind, text)
