"""From the files that students handed in to submissions; nothing is executed.

`collect` finds who handed in what, `load_submission` loads one submission or says why not.
"""

from grader.intake.entry import starter_fingerprints
from grader.intake.load import load_submission
from grader.intake.roster import collect
from grader.intake.submission import (
    Attachment,
    BrokenStatement,
    CellLine,
    Damage,
    Layout,
    Origin,
    Person,
    Rejected,
    Requirements,
    SourceFile,
    Submission,
    SubmissionSource,
)

__all__ = [
    "Attachment",
    "BrokenStatement",
    "CellLine",
    "Damage",
    "Layout",
    "Origin",
    "Person",
    "Rejected",
    "Requirements",
    "SourceFile",
    "Submission",
    "SubmissionSource",
    "collect",
    "load_submission",
    "starter_fingerprints",
]
