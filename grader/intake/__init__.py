"""From the files that students handed in to submissions; nothing is executed.

`collect` finds who handed in what, `load_submission` loads one submission or says why not.
"""

from grader.intake.load import load_submission
from grader.intake.roster import collect
from grader.intake.submission import (
    Attachment,
    CellLine,
    Origin,
    Person,
    Rejected,
    SourceFile,
    Submission,
    SubmissionSource,
)

__all__ = [
    "Attachment",
    "CellLine",
    "Origin",
    "Person",
    "Rejected",
    "SourceFile",
    "Submission",
    "SubmissionSource",
    "collect",
    "load_submission",
]
