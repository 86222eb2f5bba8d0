"""What a student handed in: before it is opened, loaded, or rejected."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

_COMPILERS = re.compile(
    r"(?<!\bre)\s*\.\s*compile\b|\bimport\b[^\n#]*\b(?:compile|jit)\b|\bjit\s*\.\s*(?:script|trace)\b"
    r"|\btorch\.jit\b|\b_dynamo\b|\b_inductor\b|\bcpp_extension\b|\bflex_attention\b"
)
"""How a submission names one of torch's compilers; `re.compile` is none."""


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
        cell_names: for a notebook, what its cells are called, by their number: `In [3]` as the
            notebook shows it, `code cell 4` where it was not run.
    """

    name: str
    text: str
    cell_lines: tuple[CellLine, ...] = ()
    cell_names: tuple[str, ...] = ()

    def place_of(self, line: int) -> str:
        """Return where a line of `text`, from 1, stands in what the student handed in."""
        if not 1 <= line <= len(self.cell_lines):
            return f"{self.name}, line {line}"
        origin = self.cell_lines[line - 1]
        named = 1 <= origin.cell <= len(self.cell_names)
        cell = self.cell_names[origin.cell - 1] if named else f"cell {origin.cell}"
        return f"{cell}, line {origin.line}"


class Damage(StrEnum):
    """Why names are missing when a submission is graded."""

    SYNTAX = "syntax"
    CONFLICT = "conflict"
    MISSING = "missing"
    IMPORT = "import"
    NOT_GRADED = "not_graded"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenStatement:
    """Code of a submission that cannot be graded; the rest can. Found without executing anything.

    A problem that needs one of `names` fails with `text`, once; so does a call that raises
    `NameError` for one of them. Statements with a syntax error or marks of a merge conflict, those
    of a notebook that need a name which nothing defines, and all that need the names of such
    statements in order to run, are not in the module any more. An import that the assignment does
    not allow is still there, because graded code uses it: it fails. A name that only a cell tagged
    `scratch` defines is in none of the files.

    Attributes:
        names: what it would have defined, and what nothing else defines; as far as can be told.
        place: `In [3], line 2`, `code cell 4, line 1` or `kv_cache.py, line 12`.
        message: what is wrong, as Python says it, and the source line.
    """

    kind: Damage
    names: tuple[str, ...]
    place: str
    message: str

    @property
    def text(self) -> str:
        """The place and the message; the submission's notices hold the same sentence."""
        return f"{self.place}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What an assignment asks of a submission, as far as reading it depends on that.

    Attributes:
        exports: names that its problems need; empty if that is not known.
        allowed: top-level modules that it allows, beside the standard library, `torch`, `numpy`,
            `triton`, the harness and the student's own files.
    """

    exports: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


NO_REQUIREMENTS = Requirements()


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
        graded_file: path of the entry in what was handed in, such as `src/kv_cache (1).py`; known
            to the run that loaded it, and not kept in records.
        broken: what of it cannot be graded, and which names are missing because of that.
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
    broken: tuple[BrokenStatement, ...] = ()
    binaries: tuple[BinaryFile, ...] = ()
    graded_file: str = field(default="", compare=False)
    allowed_imports: tuple[str, ...] = ("*",)
    needs: tuple[str, ...] = ()
    sliced: bool = False

    def compiles(self, *, on_device: bool = False) -> bool:
        """Whether a file names a compiler: then its first calls may take longer, and no more.

        Args:
            on_device: whether Triton compiles; on the processor its kernels are interpreted.
        """
        text = "\n".join(file.text for file in self.files)
        return bool(_COMPILERS.search(text) or (on_device and "triton" in text))

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
