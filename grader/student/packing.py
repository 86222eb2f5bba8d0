"""Writes `<slug>-submission.zip`, the file that a student hands in.

Whether the work is right is not looked at here (see `student.public_run`).
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from grader.assignment.reading import read_submission
from grader.assignment.table import Assignment
from grader.cuda_cpp.header import header_name
from grader.errors import IntakeError, UsageError
from grader.intake.submission import Attachment, Origin, Rejected, Submission, SubmissionSource
from grader.student.oversights import find_oversights, missing_names
from grader.student.work import CUDA_ENDING, ZIP_ENDING, Work

HEADER_ENDINGS = (".cuh", ".h", ".hpp")
_LEFT_OUT = re.compile(r"^#if 0$.*?^#endif$", re.MULTILINE | re.DOTALL)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A zip that was written.

    Attributes:
        members: (name, bytes) of each file in it.
    """

    path: Path
    members: tuple[tuple[str, int], ...]
    sha256: str
    notices: tuple[str, ...]


def load_work(work: Work, table: Assignment, folder: Path | None = None) -> Submission:
    """Load a student's file, or a zip to hand in, as grading will; with C++ the headers beside it.

    Raises:
        IntakeError: if it cannot be loaded, with a hint what to do.
    """
    parts = tuple(Attachment(path=path) for path in _parts(work))
    source = SubmissionSource(name=work.slug, parts=parts)
    submission = read_submission(source, table, folder)
    if isinstance(submission, Rejected):
        raise IntakeError(f"{work.path.name}: {submission.message}", hint=submission.hint)
    return submission


def missing_exports(submission: Submission, table: Assignment) -> tuple[str, ...]:
    """Return the names that problems need but the source does not define at its top level."""
    if submission.origin is not Origin.CUDA:
        return missing_names(submission, table.exports)
    text = _LEFT_OUT.sub("", "\n".join(file.text for file in submission.files))
    launcher = r"\bStatus\s+{}\s*\("
    return tuple(n for n in table.exports if not re.search(launcher.format(re.escape(n)), text))


def oversights(work: Work, submission: Submission, table: Assignment) -> tuple[str, ...]:
    """Return one sentence for each thing that would cost points for no fault of the work."""
    found = find_oversights(work, submission, table.exports)
    if submission.origin is Origin.CUDA:
        return found + tuple(
            f"{name} is not defined in your file, so its problem gets no points"
            for name in missing_exports(submission, table)
        )
    return found


def pack(work: Work, submission: Submission, table: Assignment, out: Path) -> Package:
    """Write the zip into the folder `out`, which is made if it is not there.

    Raises:
        UsageError: if it cannot be written there, or the work is a zip already.
    """
    if work.path.suffix == ZIP_ENDING:
        raise UsageError(
            f"{work.path.name} is a zip already", hint="hand it in, or give the file that you edit"
        )
    entry, *beside = _parts(work)
    contents = {f"{table.slug}{entry.suffix}": entry.read_bytes()}
    contents.update({path.name: path.read_bytes() for path in beside})
    packed = zip_bytes(contents)
    path = out / f"{table.slug}-submission.zip"
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed)
    except OSError as error:
        hint = "name a folder that you can write to with --out"
        raise UsageError(f"{path}: {error.strerror}", hint=hint) from error
    return Package(
        path=path,
        members=tuple((name, len(content)) for name, content in contents.items()),
        sha256=hashlib.sha256(packed).hexdigest(),
        notices=submission.notices,
    )


def zip_bytes(contents: Mapping[str, bytes]) -> bytes:
    """Return a zip with these files by name; equal files give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            member = zipfile.ZipInfo(name, _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return buffer.getvalue()


def _parts(work: Work) -> list[Path]:
    """Return the student's file; with one in C++ also the headers beside it."""
    if work.path.suffix != CUDA_ENDING:
        return [work.path]
    headers = (path for path in work.path.parent.iterdir() if path.suffix in HEADER_ENDINGS)
    own = header_name(work.slug)  # the grader uses its own copy
    return [work.path, *sorted(path for path in headers if path.name != own)]
