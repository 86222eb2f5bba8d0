"""Reads a submission to an assignment: the one way in for `check`, `pack` and grading."""

from dataclasses import replace
from pathlib import Path

from grader.assignment.table import Assignment, Language
from grader.intake import (
    Rejected,
    Requirements,
    Submission,
    SubmissionSource,
    load_submission,
    starter_fingerprints,
)


def read_submission(
    source: SubmissionSource, assignment: Assignment, folder: Path | None
) -> Submission | Rejected:
    """Read a submission without executing any of it; `folder` is the assignment's, if it is known.

    Raises:
        SandboxError: if the disk or the machine fails, or access is denied: our fault, no grade.
    """
    found = load_submission(
        source,
        slug=assignment.slug,
        cuda=Language.CUDA in assignment.languages,
        starters=starter_fingerprints(folder) if folder else (),
        requirements=Requirements(exports=assignment.exports, allowed=assignment.allowed_imports),
    )
    if isinstance(found, Rejected):
        return found
    return replace(found, allowed_imports=assignment.allowed_imports)
