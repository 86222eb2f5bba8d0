"""The noun that is kept: everything needed to read, defend and repeat one grade.

Takes: nothing. Gives: `GradeRecord` and its JSON form. Does not cover: where it is kept (`store`).

Records stay on the staff side: they hold the seed and the expected values of hidden cases.
"""

from dataclasses import dataclass

from grader.advice.kernel_advice import NO_ADVICE, Advice
from grader.intake.submission import Origin, SourceFile
from grader.judge.judgement import Judgement
from grader.measure.measurement import Measurement
from grader.plan.plan import Plan

RECORD_SCHEMA_VERSION = 3
"""3: all files of a submission. Records and output folders of another version are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionFacts:
    """What is kept of a submission: enough to grade it again (see `record.make`).

    Attributes:
        name: identifier, unique within the class.
        sha256: hash of the bytes that were handed in.
        origin: module or notebook.
        entry: name of the entry module; empty for a rejected submission.
        files: all sources as they lay in the box, the entry first; none of a rejected submission.
        notices: what intake told the student.
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
    """What the grade was made with.

    Attributes:
        grader_version: version of this project.
        python: version of the judge's Python.
        torch: version of the judge's torch.
        platform: operating system, kernel and machine type.
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
        measurement: what was seen; no problems for a rejected submission.
        judgement: what was decided.
        environment: versions and machine.
        advice: what the box said of Triton kernels; nothing else here depends on it. Records made
            before there was any are read as without.
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
