"""Taking in one student's work: every malformed one ends as a message, none as a crash.

Takes: a `SubmissionSource`. Gives: `Submission` or `Rejected`. Does not cover: whether the code is
right, or even Python: the box reports that.
"""

from dataclasses import dataclass

from grader.errors import IntakeError
from grader.intake.contents import Contents, File, Refused, read_contents
from grader.intake.cuda import admit_cuda, is_cuda_entry, is_cuda_source
from grader.intake.disk import MIB, require_size
from grader.intake.modules import (
    FALLBACK_MODULE,
    choose_entry,
    decode_source,
    is_module_name,
    name_module,
    require_utf8_declared,
    shadows,
)
from grader.intake.names import show
from grader.intake.notebook import read_notebook
from grader.intake.submission import Origin, Rejected, SourceFile, Submission, SubmissionSource

MAX_MODULES = 20
MAX_MODULE_BYTES = 1 * MIB
MAX_NOTEBOOK_BYTES = 64 * MIB
MAX_LISTED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """The entry file as it goes into the box."""

    source: SourceFile
    origin: Origin
    notices: tuple[str, ...] = ()
    notebook_json: str = ""


def load_submission(
    source: SubmissionSource, *, slug: str, cuda: bool = False
) -> Submission | Rejected:
    """Take in one student's work; nothing in it is executed, parsed here, or trusted.

    Args:
        source: where it lies.
        slug: of the assignment.
        cuda: whether the assignment takes CUDA C++ as well.

    Raises:
        SandboxError: if the disk, the rights or the machine do not let us: ours, never a grade.
    """
    sha256 = ""
    try:
        contents = read_contents(source)
        sha256 = contents.sha256
        return _admit(contents, name=source.name, slug=slug, cuda=cuda)
    except Refused as refused:
        error: IntakeError = refused
        sha256 = refused.sha256
    except IntakeError as refusal:
        error = refusal
    return Rejected(name=source.name, sha256=sha256, message=str(error), hint=error.hint)


def _admit(contents: Contents, *, name: str, slug: str, cuda: bool) -> Submission:
    notices: list[str] = []
    sources = _cuda_sources(contents.files) if cuda else {}
    modules, notebooks = _sort(contents.files, notices)
    entries = tuple(file for file in sources if is_cuda_entry(file))
    endings = (".py", ".ipynb", ".cu") if cuda else (".py", ".ipynb")
    chosen = choose_entry((*modules, *notebooks, *entries), slug=slug, endings=endings)
    if chosen in sources:
        return admit_cuda(chosen, sources, contents, name=name)
    entry = _read_entry(chosen, modules.pop(chosen, b"") or notebooks.pop(chosen, b""))
    if notebooks:
        notices.append(f"not used: {_listed(tuple(notebooks))}; one notebook is graded")
    if len(modules) >= MAX_MODULES:
        raise IntakeError(
            f"expected at most {MAX_MODULES} modules, found {len(modules) + 1}",
            hint="hand in only the modules that your work imports",
        )
    travelling = tuple(
        file for n, c in modules.items() for file in _read_beside(n, c, entry.source.name, notices)
    )
    return Submission(
        name=name,
        sha256=contents.sha256,
        origin=entry.origin,
        entry=entry.source.name.removesuffix(".py"),
        files=(entry.source, *travelling),
        notices=(*notices, *entry.notices),
        notebook_json=entry.notebook_json,
    )


def _cuda_sources(files: tuple[File, ...]) -> dict[str, bytes]:
    """Return the C++ files at the top by file name."""
    return {file.name: file.content for file in files if is_cuda_source(file.name)}


def _sort(files: tuple[File, ...], notices: list[str]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return modules and notebooks at the top by file name; say what does not travel."""
    modules: dict[str, bytes] = {}
    notebooks: dict[str, bytes] = {}
    others: list[str] = []
    shadowing: list[str] = []
    for file in files:
        stem, _, suffix = file.name.rpartition(".")
        kind = suffix.lower() if "/" not in file.name else ""
        if kind == "ipynb":
            notebooks[file.name] = file.content
        elif kind == "py" and shadows(stem) and len(files) > 1:
            shadowing.append(file.name)
        elif kind == "py":
            modules[file.name] = file.content
        else:
            others.append(file.name)
    if shadowing:
        notices.append(
            f"left out: {_listed(tuple(shadowing))}; such a name has a meaning of its own to "
            "Python or the grader"
        )
    if others and (modules or notebooks):
        notices.append(f"not used: {_listed(tuple(others))}; only modules at the top travel along")
    return modules, notebooks


def _read_entry(file_name: str, content: bytes) -> _Entry:
    stem, _, suffix = file_name.rpartition(".")
    module = name_module(stem)
    notices: tuple[str, ...] = ()
    if module != stem:
        notices = (
            f"{show(file_name)} is graded as {FALLBACK_MODULE}.py: its own name cannot be imported",
        )
    if suffix.lower() == "ipynb":
        require_size(file_name, len(content), limit_bytes=MAX_NOTEBOOK_BYTES)
        read = read_notebook(content)
        require_size(
            f"the code of {file_name}", len(read.text.encode()), limit_bytes=MAX_MODULE_BYTES
        )
        require_utf8_declared(read.text, name=file_name)
        return _Entry(
            source=SourceFile(name=f"{module}.py", text=read.text, cell_lines=read.cell_lines),
            origin=Origin.NOTEBOOK,
            notices=(*notices, *read.notices),
            notebook_json=read.notebook_json,
        )
    text = _read_module(file_name, content)
    if not text.strip():
        raise IntakeError(
            f"expected Python source, found an empty file: {show(file_name)}",
            hint="save your work and hand it in again",
        )
    source = SourceFile(name=f"{module}.py", text=text)
    return _Entry(source=source, origin=Origin.MODULE, notices=notices)


def _read_beside(
    file_name: str, content: bytes, entry: str, notices: list[str]
) -> tuple[SourceFile, ...]:
    """Return a module that travels along, or say why it does not; it alone rejects nothing."""
    stem = file_name.rpartition(".")[0]
    if not is_module_name(stem) or f"{stem}.py".lower() == entry.lower():
        notices.append(f"left out: {show(file_name)}; a file of that name cannot be imported")
        return ()
    try:
        return (SourceFile(name=f"{stem}.py", text=_read_module(file_name, content)),)
    except IntakeError as error:
        notices.append(f"left out: {show(file_name)}; {error}")
        return ()


def _read_module(file_name: str, content: bytes) -> str:
    require_size(file_name, len(content), limit_bytes=MAX_MODULE_BYTES)
    return decode_source(content, name=file_name)


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(show(name) for name in sorted(names)[:MAX_LISTED])
    more = len(names) - MAX_LISTED
    return f"{shown} and {more} more" if more > 0 else shown
