"""The noun of the first stage: what a student handed in, taken in but never executed.

Takes: nothing. Gives: `Submission` and its parts. Does not cover: reading files (see `intake`).
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One file or folder of a student's work.

    Attributes:
        path: on disk: a file, a folder, or the archive of a whole class.
        member: name within that archive, ending in `/` for a folder; empty: `path` itself.
        label: the file's name as the student gave it, without what a course site put before it.
    """

    path: Path
    member: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionSource:
    """One student's work, not yet opened.

    Attributes:
        name: identifier, unique within a class, safe as a folder name.
        parts: usually one; several where a course site stores each attachment by itself.
    """

    name: str
    parts: tuple[Attachment, ...]


class Origin(StrEnum):
    """What kind of file the entry module came from."""

    MODULE = "module"
    NOTEBOOK = "notebook"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLine:
    """Where a line of a module made from a notebook came from; both counts start at 1.

    Attributes:
        cell: number of the cell among all cells of the notebook.
        line: line within that cell.
    """

    cell: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One source file as it will lie in the box.

    Attributes:
        name: path in the sandbox: a valid module name plus `.py`, or as handed in for CUDA C++;
            below one folder only for what an author's package is made of.
        text: the source.
        cell_lines: for a notebook, the origin of each line of `text`; empty for a module.
    """

    name: str
    text: str
    cell_lines: tuple[CellLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryFile:
    """One file that a compiler made of a submission.

    Attributes:
        name: flat file name.
        content: its bytes, made in a box and never read outside one.
    """

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One student's work, ready to be put into the box.

    Attributes:
        name: identifier, unique within a class, safe as a folder name.
        sha256: hash of the bytes that were handed in.
        origin: what the entry is.
        entry: module name of the entry file (`files` holds `<entry>.py`; in CUDA C++, until it is
            compiled, `<entry>.cu`).
        files: the entry first, then files that travel with it.
        notices: what the student should know about the way in, such as dropped cells.
        notebook_json: the notebook as handed in, outputs stripped; empty for a module.
        binaries: files that a compiler made of it, which go into the box as well.
    """

    name: str
    sha256: str
    origin: Origin
    entry: str
    files: tuple[SourceFile, ...]
    notices: tuple[str, ...] = ()
    notebook_json: str = ""
    binaries: tuple[BinaryFile, ...] = ()

    @classmethod
    def of_text(cls, name: str, text: str) -> "Submission":
        """Return a module that nobody handed in, of one file."""
        return cls.of_files(name, (SourceFile(name="submission.py", text=text),))

    @classmethod
    def of_files(cls, name: str, files: tuple[SourceFile, ...]) -> "Submission":
        """Return a module that nobody handed in; its entry is `submission.py`."""
        return cls(name=name, sha256="", origin=Origin.MODULE, entry="submission", files=files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A submission that could not be taken in; it is graded with this message and no points.

    Attributes:
        name: identifier, unique within a class, safe as a folder name.
        sha256: hash of the bytes that were handed in; empty if they could not be read.
        message: for the student: what was expected, what was found.
        hint: for the student: what to do about it.
    """

    name: str
    sha256: str
    message: str
    hint: str = ""
