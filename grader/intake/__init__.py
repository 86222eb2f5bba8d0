"""The first stage: files that students handed in become submissions, and nothing is executed.

Takes: paths. Gives: `collect` (who handed in what) and `take_in` (one student's work, or why not).
Does not cover: grading it.
"""

from grader.intake.admission import take_in
from grader.intake.handed import Handed, Part
from grader.intake.roster import collect
from grader.intake.submission import BinaryFile, CellLine, Origin, Rejected, SourceFile, Submission

__all__ = [
    "BinaryFile",
    "CellLine",
    "Handed",
    "Origin",
    "Part",
    "Rejected",
    "SourceFile",
    "Submission",
    "collect",
    "take_in",
]
