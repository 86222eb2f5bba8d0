"""Loads one student's submission: everything malformed ends in a message, nothing in a crash.

Nothing is executed. Whether the code is right, or even Python, shows in the worker.
"""

from dataclasses import dataclass

from grader.errors import IntakeError
from grader.intake.contents import Contents, File, Refused, read_contents
from grader.intake.cuda import is_cuda_entry, is_cuda_source, load_cuda
from grader.intake.files import MIB, list_names, require_size, show
from grader.intake.modules import (
    FALLBACK_MODULE,
    choose_entry,
    decode_source,
    is_module_name,
    name_module,
    require_utf8_declared,
    shadows,
)
from grader.intake.notebook import read_notebook
from grader.intake.submission import Origin, Rejected, SourceFile, Submission, SubmissionSource

MAX_MODULES = 20
MAX_MODULE_BYTES = 1 * MIB
MAX_NOTEBOOK_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """The file to grade, as the worker gets it."""

    source: SourceFile
    origin: Origin
    notices: tuple[str, ...] = ()
    notebook_json: str = ""


def load_submission(
    source: SubmissionSource, *, slug: str, cuda: bool = False
) -> Submission | Rejected:
    """Load one student's submission, or return why it is rejected.

    Args:
        source: where its files are.
        slug: of the assignment.
        cuda: whether the assignment accepts CUDA C++ as well.

    Raises:
        SandboxError: if the disk or the machine fails, or access is denied: our fault, no grade.
    """
    sha256 = ""
    try:
        contents = read_contents(source)
        sha256 = contents.sha256
        return _load(contents, name=source.name, slug=slug, cuda=cuda)
    except Refused as refused:
        error: IntakeError = refused
        sha256 = refused.sha256
    except IntakeError as refusal:
        error = refusal
    return Rejected(name=source.name, sha256=sha256, message=str(error), hint=error.hint)


def _load(contents: Contents, *, name: str, slug: str, cuda: bool) -> Submission:
    notices: list[str] = []
    files = {file.name: file.content for file in contents.files}
    sources = {n: c for n, c in files.items() if is_cuda_source(n)} if cuda else {}
    modules, notebooks = _sort(contents.files, notices)
    entries = tuple(file for file in sources if is_cuda_entry(file))
    endings = (".py", ".ipynb", ".cu") if cuda else (".py", ".ipynb")
    names = (*modules, *notebooks, *entries)
    chosen = choose_entry(names, slug=slug, endings=endings, others=tuple(files))
    if chosen in sources:
        return load_cuda(chosen, sources, contents, name=name)
    entry = _read_entry(chosen, modules.pop(chosen, b"") or notebooks.pop(chosen, b""))
    if notebooks:
        notices.append(f"not used: {list_names(notebooks)}; only one notebook is graded")
    if len(modules) >= MAX_MODULES:
        raise IntakeError(
            f"expected at most {MAX_MODULES} modules, found {len(modules) + 1}",
            hint="hand in only the modules that your work imports",
        )
    beside = tuple(
        file for n, c in modules.items() for file in _read_beside(n, c, entry.source.name, notices)
    )
    return Submission(
        name=name,
        sha256=contents.sha256,
        origin=entry.origin,
        entry=entry.source.name.removesuffix(".py"),
        files=(entry.source, *beside),
        notices=(*notices, *entry.notices),
        notebook_json=entry.notebook_json,
    )


def _sort(files: tuple[File, ...], notices: list[str]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return modules and notebooks at the top by file name, with a notice about other files."""
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
            f"left out: {list_names(shadowing)}; Python or the grader has a module of that name"
        )
    if others and (modules or notebooks):
        notices.append(f"not used: {list_names(others)}; only modules at the top can be imported")
    return modules, notebooks


def _read_entry(file_name: str, content: bytes) -> _Entry:
    stem, _, suffix = file_name.rpartition(".")
    module = name_module(stem)
    notices: tuple[str, ...] = ()
    if module != stem:
        notices = (
            f"{show(file_name)} is graded as {FALLBACK_MODULE}.py: Python cannot import its name",
        )
    if suffix.lower() == "ipynb":
        require_size(file_name, len(content), limit_bytes=MAX_NOTEBOOK_BYTES)
        try:
            read = read_notebook(content)
        except IntakeError as error:
            raise IntakeError(f"{show(file_name)}: {error}", hint=error.hint) from error
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
            hint="save your work, and hand in the file again",
        )
    source = SourceFile(name=f"{module}.py", text=text)
    return _Entry(source=source, origin=Origin.MODULE, notices=notices)


def _read_beside(
    file_name: str, content: bytes, entry: str, notices: list[str]
) -> tuple[SourceFile, ...]:
    """Return a module that may be imported, or nothing, with a notice; it rejects no submission."""
    stem = file_name.rpartition(".")[0]
    if not is_module_name(stem) or f"{stem}.py".lower() == entry.lower():
        notices.append(f"left out: {show(file_name)}; Python cannot import a file of that name")
        return ()
    try:
        return (SourceFile(name=f"{stem}.py", text=_read_module(file_name, content)),)
    except IntakeError as error:
        notices.append(f"left out: {show(file_name)}; {error}")
        return ()


def _read_module(file_name: str, content: bytes) -> str:
    require_size(file_name, len(content), limit_bytes=MAX_MODULE_BYTES)
    return decode_source(content, name=file_name)
