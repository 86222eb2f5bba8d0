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

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, on disk or in the archive."""
        return self.member.endswith("/") if self.member else self.path.is_dir()

    @property
    def original(self) -> str:
        """Where it lies, for people: `export.zip/Ada Example_101_assignsubmission_file_/`."""
        return f"{self.path.name}/{self.member}" if self.member else self.path.name


class Layout(StrEnum):
    """How files name their owner: as course staff put them, or as a course site exports them."""

    PLAIN = "plain"
    BLACKBOARD = "blackboard"
    BRIGHTSPACE = "brightspace"
    CANVAS = "canvas"
    GITHUB = "github"
    GRADESCOPE = "gradescope"
    MOODLE = "moodle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who handed in a submission, as far as an export tells; what it does not tell is empty.

    Attributes:
        name: as the course site shows it.
        number: the student's number or user name there.
    """

    name: str = ""
    email: str = ""
    number: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionSource:
    """One student's submission, not yet opened.

    Attributes:
        name: identifier, unique within a class, safe as a folder name.
        parts: usually one; several where a course site stores each attachment by itself.
        layout: what the owner was read from.
        key: what tells this owner from all others in every run over the same class, whoever else
            is in it: the course site's own number or user name, or the file's name as it was.
        people: all members of a group; one, or nobody, for other submissions.
        attempts: all that were found, oldest first, as the course site writes them; `attempt` is
            the one in `parts`. Empty if the export tells of none.
        late: whether the course site marks it as late.
    """

    name: str
    parts: tuple[Attachment, ...]
    layout: Layout = Layout.PLAIN
    key: str = ""
    people: tuple[Person, ...] = ()
    attempts: tuple[str, ...] = ()
    attempt: str = ""
    late: bool = False

    @property
    def original(self) -> str:
        """Where the submission came from, for people: its files or folder as they were named."""
        return ", ".join(part.original for part in self.parts)


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
        graded_file: path of the entry in what was handed in, such as `src/kv_cache (1).py`.
    """

    name: str
    sha256: str
    origin: Origin
    entry: str
    files: tuple[SourceFile, ...]
    notices: tuple[str, ...] = ()
    notebook_json: str = ""
    binaries: tuple[BinaryFile, ...] = ()
    graded_file: str = ""

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
