"""Loads one student's submission: everything malformed ends in a message, nothing in a crash.

Nothing is executed. Whether the code is right, or even Python, shows in the worker.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from grader.errors import IntakeError
from grader.intake.contents import Contents, Refused, read_contents
from grader.intake.cuda import ENTRY_ENDING, is_cuda_source, load_cuda
from grader.intake.files import MIB, list_names, require_size, show
from grader.intake.modules import (
    FALLBACK_MODULE,
    MAX_SOURCE_BYTES,
    choose_entry,
    decode_source,
    is_module_name,
    name_module,
    read_beside,
    require_utf8_declared,
    shadows,
)
from grader.intake.notebook import ReadNotebook, read_notebook
from grader.intake.submission import Origin, Rejected, SourceFile, Submission, SubmissionSource

MAX_MODULES = 20
MAX_NOTEBOOK_BYTES = 64 * MIB


def load_submission(
    source: SubmissionSource, *, slug: str, cuda: bool = False
) -> Submission | Rejected:
    """Load one student's submission, or return why it is rejected.

    `slug` names the assignment; with `cuda` it accepts CUDA C++ as well.

    Raises:
        SandboxError: if the disk or the machine fails, or access is denied: our fault, no grade.
    """
    sha256 = ""
    try:
        contents = read_contents(source)
        sha256 = contents.sha256
        return _load(contents, name=source.name, slug=slug, cuda=cuda)
    except IntakeError as error:
        if isinstance(error, Refused):
            sha256 = error.sha256
        return Rejected(name=source.name, sha256=sha256, message=str(error), hint=error.hint)


def _load(contents: Contents, *, name: str, slug: str, cuda: bool) -> Submission:
    files = contents.files
    sources = {n: c for n, c in files.items() if is_cuda_source(n)} if cuda else {}
    modules, notebooks, notices = _sort(files)
    entries = tuple(file for file in sources if file.lower().endswith(ENTRY_ENDING))
    endings = (".py", ".ipynb", ".cu") if cuda else (".py", ".ipynb")
    names = (*modules, *notebooks, *entries)
    chosen = choose_entry(names, slug=slug, endings=endings, others=tuple(files))
    if chosen in sources:
        return load_cuda(chosen, sources, contents, name=name)
    content = modules.pop(chosen, b"") or notebooks.pop(chosen, b"")
    alone = _read_entry(chosen, content, name=name, sha256=contents.sha256)
    if notebooks:
        notices.append(f"not used: {list_names(notebooks)}; only one notebook is graded")
    if len(modules) >= MAX_MODULES:
        raise IntakeError(
            f"expected at most {MAX_MODULES} modules, found {len(modules) + 1}",
            hint="hand in only the modules that your work imports",
        )
    beside, left_out = read_beside(modules, partial(_read_beside, entry=alone.entry))
    return replace(
        alone,
        files=(*alone.files, *beside),
        notices=(*notices, *left_out, *alone.notices),
    )


def _sort(files: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[str, bytes], list[str]]:
    """Return modules and notebooks at the top, and notices about other files."""
    modules: dict[str, bytes] = {}
    notebooks: dict[str, bytes] = {}
    others: list[str] = []
    shadowing: list[str] = []
    for name, content in files.items():
        stem, _, suffix = name.rpartition(".")
        kind = suffix.lower() if "/" not in name else ""
        if kind == "ipynb":
            notebooks[name] = content
        elif kind == "py" and shadows(stem) and len(files) > 1:
            shadowing.append(name)
        elif kind == "py":
            modules[name] = content
        else:
            others.append(name)
    notices: list[str] = []
    if shadowing:
        notices.append(
            f"left out: {list_names(shadowing)}; Python or the grader has a module of that name"
        )
    if others and (modules or notebooks):
        notices.append(f"not used: {list_names(others)}; only modules at the top can be imported")
    return modules, notebooks, notices


def _read_entry(file_name: str, content: bytes, *, name: str, sha256: str) -> Submission:
    """Return the submission that the graded file alone would be."""
    stem, _, suffix = file_name.rpartition(".")
    entry = name_module(stem)
    notices: tuple[str, ...] = ()
    if entry != stem:
        notices = (
            f"{show(file_name)} is graded as {FALLBACK_MODULE}.py: Python cannot import its name",
        )
    if suffix.lower() == "ipynb":
        read = _read_notebook(file_name, content)
        source = SourceFile(name=f"{entry}.py", text=read.text, cell_lines=read.cell_lines)
        return Submission(
            name=name,
            sha256=sha256,
            origin=Origin.NOTEBOOK,
            entry=entry,
            files=(source,),
            notices=(*notices, *read.notices),
            notebook_json=read.notebook_json,
        )
    text = decode_source(content, name=file_name)
    if not text.strip():
        raise IntakeError(
            f"expected Python source, found an empty file: {show(file_name)}",
            hint="save your work, and hand in the file again",
        )
    return Submission(
        name=name,
        sha256=sha256,
        origin=Origin.MODULE,
        entry=entry,
        files=(SourceFile(name=f"{entry}.py", text=text),),
        notices=notices,
    )


def _read_notebook(file_name: str, content: bytes) -> ReadNotebook:
    require_size(file_name, len(content), limit_bytes=MAX_NOTEBOOK_BYTES)
    try:
        read = read_notebook(content)
    except IntakeError as error:
        raise IntakeError(f"{show(file_name)}: {error}", hint=error.hint) from error
    require_size(f"the code of {file_name}", len(read.text.encode()), limit_bytes=MAX_SOURCE_BYTES)
    require_utf8_declared(read.text, name=file_name)
    return read


def _read_beside(file_name: str, content: bytes, *, entry: str) -> SourceFile:
    stem = file_name.rpartition(".")[0]
    if not is_module_name(stem) or stem.lower() == entry.lower():
        raise IntakeError("Python cannot import a file of that name")
    return SourceFile(name=f"{stem}.py", text=decode_source(content, name=file_name))
