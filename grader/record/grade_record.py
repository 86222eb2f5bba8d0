"""The record of one grade: everything needed to read, defend and repeat it.

Records are for the course staff only: they hold the seed and the expected values of hidden cases.
`record.store` keeps them, `record.codec` writes them as JSON.
"""

import platform
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from grader import __version__
from grader.advice.kernel_advice import NO_ADVICE, Advice
from grader.assignment.plan import Plan
from grader.errors import UsageError
from grader.evidence.measurement import Measurement
from grader.intake.submission import Origin, Rejected, SourceFile, Submission
from grader.judge.judgement import Judgement

RECORD_SCHEMA_VERSION = 3
"""3: all files of a submission. Records and output folders of another version are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionFacts:
    """What is kept of a submission: enough to grade it again (see `restore_submission`).

    Attributes:
        name: identifier, unique within the class.
        sha256: hash of the bytes that were handed in.
        origin: module, notebook or CUDA C++.
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
        grader_version: version of this project.
        python: version of the judge's Python.
        torch: version of the judge's torch.
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
        schema_version: version of this format.
        record_id: unique identifier of this record.
        previous_id: record that this one replaces; empty for the first.
        created_at: ISO 8601 in UTC.
        submission: what was handed in.
        plan: what was asked, with the secret seed.
        measurement: what was measured; no problems for a rejected submission.
        judgement: what was decided.
        environment: versions and machine.
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

    Args:
        submission: what was handed in.
        plan: what was asked.
        measurement: what was measured.
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

    Compiled libraries are not kept; the sources are compiled again.

    Raises:
        UsageError: if it was rejected; then there is nothing to grade.
    """
    if not facts.files:
        raise UsageError(
            f"{facts.name} was rejected when it was handed in, so its record holds no code",
            hint="correct the file, and give the file to `grader grade`",
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
