"""The first stage: files that students handed in become submissions, and nothing is executed.

Takes: paths. Gives: `collect` (who handed in what) and `load_submission` (one student's work, or
why not). Does not cover: grading it.
"""

from grader.intake.load import load_submission
from grader.intake.roster import collect
from grader.intake.submission import (
    Attachment,
    BinaryFile,
    CellLine,
    Origin,
    Rejected,
    SourceFile,
    Submission,
    SubmissionSource,
)

__all__ = [
    "Attachment",
    "BinaryFile",
    "CellLine",
    "Origin",
    "Rejected",
    "SourceFile",
    "Submission",
    "SubmissionSource",
    "collect",
    "load_submission",
]
