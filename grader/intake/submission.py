"""What a student handed in: before it is opened, loaded, or rejected."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One file or folder of a submission.

    Attributes:
        path: on disk: a file, a folder, or the archive of a whole class.
        member: name within that archive, ending in `/` for a folder; empty: `path` itself.
        label: the file's name as the student gave it, without what a course site added.
    """

    path: Path
    member: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionSource:
    """One student's submission, not yet opened.

    Attributes:
        name: identifier, unique within a class, safe as a folder name.
        parts: usually one; several where a course site stores each attachment by itself.
    """

    name: str
    parts: tuple[Attachment, ...]


class Origin(StrEnum):
    """What kind of file is graded."""

    MODULE = "module"
    NOTEBOOK = "notebook"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLine:
    """Where a line of a notebook's module came from: cell (among all) and line, both from 1."""

    cell: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One source file, as the worker gets it.

    Attributes:
        name: path in the sandbox: a valid module name plus `.py`, or as handed in for CUDA C++;
            only files of an author's package lie in a folder, such as `kernels/softmax.py`.
        cell_lines: for a notebook, the origin of each line of `text`; empty for a module.
    """

    name: str
    text: str
    cell_lines: tuple[CellLine, ...] = ()

    def place(self, line: int) -> str:
        """Return a line of the file as the student knows it: "cell 3, line 2", "kv.py, line 41"."""
        if 0 < line <= len(self.cell_lines):
            origin = self.cell_lines[line - 1]
            return f"cell {origin.cell}, line {origin.line}"
        return f"{self.name}, line {line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryFile:
    """One file that a compiler made of a submission, in a sandbox; never read outside one."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One student's submission, ready for a worker.

    Attributes:
        sha256: hash of the bytes that were handed in.
        entry: module name of the entry file (`files` holds `<entry>.py`; in CUDA C++, until it is
            compiled, `<entry>.cu`).
        files: the entry first, then the files that it may import or include.
        notices: what the student should know about loading, such as dropped cells.
        notebook_json: the notebook as handed in, outputs stripped; empty for a module.
        allowed_imports: top-level modules that it may import beside those that all may, as
            `runner.loading` says; an author's own file may import what it finds.
        needs: names of the problem at hand.
        sliced: whether only the statements that `needs` takes are loaded.
    """

    name: str
    sha256: str
    origin: Origin
    entry: str
    files: tuple[SourceFile, ...]
    notices: tuple[str, ...] = ()
    notebook_json: str = ""
    binaries: tuple[BinaryFile, ...] = ()
    allowed_imports: tuple[str, ...] = ("*",)
    needs: tuple[str, ...] = ()
    sliced: bool = False

    @classmethod
    def of_text(cls, name: str, text: str) -> "Submission":
        """Return a module of one file that no student handed in."""
        return cls.of_files(name, (SourceFile(name="submission.py", text=text),))

    @classmethod
    def of_files(cls, name: str, files: tuple[SourceFile, ...]) -> "Submission":
        """Return a module that no student handed in; its entry is `submission.py`."""
        return cls(name=name, sha256="", origin=Origin.MODULE, entry="submission", files=files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A submission that cannot be loaded; it is graded with this message and no points.

    The message tells the student what was expected and found, the hint what to do about it. The
    hash is empty if the bytes could not be read.
    """

    name: str
    sha256: str
    message: str
    hint: str = ""

    @property
    def text(self) -> str:
        """The message and the hint, as sentences."""
        hint = f" {self.hint[0].upper()}{self.hint[1:]}." if self.hint else ""
        return f"{self.message}.{hint}"
