"""The zip a student hands in.

Takes: the student's file, taken in. Gives: `<slug>-submission.zip`. Does not cover: whether the
work is right (see `student.public_run`).
"""

import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from grader.errors import IntakeError, UsageError
from grader.intake.submission import Rejected, Submission
from grader.plan.assignment import Assignment
from grader.student.work import Work

_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's first date: the same work gives the same bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A zip that was written.

    Attributes:
        path: where it lies.
        members: (name, bytes) of each file in it.
        sha256: hash of the zip.
        missing: exports that the source does not seem to define.
        notices: what the student should know about the way in.
    """

    path: Path
    members: tuple[tuple[str, int], ...]
    sha256: str
    missing: tuple[str, ...]
    notices: tuple[str, ...]


def take_in_work(work: Work) -> Submission:
    """Take a student's file in as grading will.

    Raises:
        IntakeError: if it cannot be taken in, with what to do about it.
    """
    from grader.intake import collect, take_in  # notebooks need nbformat, which takes a while

    (handed,) = collect([work.path], work.slug)
    taken = take_in(handed, slug=work.slug)
    if isinstance(taken, Rejected):
        raise IntakeError(f"{work.path.name}: {taken.message}", hint=taken.hint)
    return taken


def missing_exports(submission: Submission, table: Assignment) -> tuple[str, ...]:
    """Return the names that problems need and the source does not define at its top level."""
    text = "\n".join(file.text for file in submission.files)
    names = dict.fromkeys(name for problem in table.problems for name in problem.exports)
    return tuple(name for name in names if not _defines(text, name))


def pack(work: Work, submission: Submission, table: Assignment, out: Path) -> Package:
    """Write the zip into the folder `out`.

    Raises:
        UsageError: if it cannot be written there.
    """
    name = f"{table.slug}{work.path.suffix}"
    content = work.path.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo(name, _EPOCH)
        member.compress_type = zipfile.ZIP_DEFLATED
        member.external_attr = 0o644 << 16
        archive.writestr(member, content)
    path = out / f"{table.slug}-submission.zip"
    try:
        path.write_bytes(buffer.getvalue())
    except OSError as error:
        hint = "name a folder you may write to with --out"
        raise UsageError(f"{path}: {error.strerror}", hint=hint) from error
    return Package(
        path=path,
        members=((name, len(content)),),
        sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
        missing=missing_exports(submission, table),
        notices=submission.notices,
    )


def _defines(text: str, name: str) -> bool:
    """Return whether `name` is defined, assigned or imported at the start of a line."""
    word = re.escape(name)
    forms = "|".join(
        (
            rf"(?:async\s+)?def\s+{word}\b",
            rf"class\s+{word}\b",
            rf"{word}\s*(?::[^=\n]*)?=",
            rf"from\s.+import\s.*\b{word}\b",
        )
    )
    return re.search(rf"^(?:{forms})", text, re.MULTILINE) is not None
