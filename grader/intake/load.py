"""Loads one student's submission: everything malformed ends in a message, nothing in a crash.

Nothing is executed. Whether the code is right, or even Python, shows in the worker.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from grader.errors import IntakeError
from grader.intake.contents import Contents, Refused, open_inner, read_contents
from grader.intake.cuda import ENTRY_ENDING, is_cuda_source, load_cuda
from grader.intake.entry import Work, find_work, is_found
from grader.intake.files import MIB, list_names, require_size, show
from grader.intake.modules import (
    FALLBACK_MODULE,
    MAX_SOURCE_BYTES,
    decode_source,
    is_module_name,
    name_module,
    read_beside,
    require_utf8_declared,
    shadows,
)
from grader.intake.notebook import ReadNotebook, read_modules, read_notebook
from grader.intake.submission import (
    NO_REQUIREMENTS,
    Origin,
    Rejected,
    Requirements,
    SourceFile,
    Submission,
    SubmissionSource,
)

MAX_MODULES = 20
MAX_NOTEBOOK_BYTES = 64 * MIB
MAX_NESTED_ARCHIVES = 3


def load_submission(
    source: SubmissionSource,
    *,
    slug: str,
    cuda: bool = False,
    starters: Collection[str] = (),
    requirements: Requirements = NO_REQUIREMENTS,
) -> Submission | Rejected:
    """Load one student's submission, or return why it is rejected.

    `slug` names the assignment; with `cuda` it accepts CUDA C++ as well. `starters` are the
    fingerprints of its own starters, which are graded only if nothing else was handed in.
    `requirements` decide what of a notebook is graded, and which imports: check, pack and grade
    pass the same.

    Raises:
        SandboxError: if the disk or the machine fails, or access is denied: our fault, no grade.
    """
    sha256 = ""
    try:
        contents = read_contents(source)
        sha256 = contents.sha256
        endings = (".py", ".ipynb", ".cu") if cuda else (".py", ".ipynb")
        work = _find(contents, slug=slug, endings=endings, starters=starters)
        job = _Job(name=source.name, sha256=sha256, slug=slug, cuda=cuda, requirements=requirements)
        return _load(work, job)
    except IntakeError as error:
        if isinstance(error, Refused):
            sha256 = error.sha256
        return Rejected(name=source.name, sha256=sha256, message=str(error), hint=error.hint)


def _find(
    contents: Contents, *, slug: str, endings: Collection[str], starters: Collection[str]
) -> Work:
    """Return the file to grade; archives are opened if none with the right name was edited."""
    for _ in range(MAX_NESTED_ARCHIVES):
        if is_found(contents.files, slug=slug, endings=endings, starters=starters):
            break
        contents = open_inner(contents)
    try:
        return find_work(contents.files, slug=slug, endings=endings, starters=starters)
    except IntakeError:
        for error in contents.unopened.values():
            raise error from None  # it may hold the work
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """Whose submission is loaded, and for which assignment."""

    name: str
    sha256: str
    slug: str
    cuda: bool
    requirements: Requirements


def _load(work: Work, job: _Job) -> Submission:
    sources = {n: c for n, c in work.files.items() if is_cuda_source(n)} if job.cuda else {}
    if work.chosen in sources:
        others = (*(work.files.keys() - sources.keys()), *work.elsewhere)
        submission = load_cuda(work.chosen, sources, others, name=job.name, sha256=job.sha256)
    else:
        submission = _load_python(work, job)
    return replace(submission, notices=(*submission.notices, *work.notices), graded_file=work.path)


def _load_python(work: Work, job: _Job) -> Submission:
    modules, notebooks, notices = _sort(work)
    content = modules.pop(work.chosen, b"") or notebooks.pop(work.chosen, b"")
    own = tuple(module.rpartition(".")[0] for module in modules)
    allowed = (*job.requirements.allowed, *own)
    job = replace(job, requirements=replace(job.requirements, allowed=allowed))
    alone = _read_entry(work.chosen, content, job)
    if alone.origin is Origin.CUDA:
        return alone
    if notebooks:
        notices.append(f"not used: {list_names(notebooks)}; only one notebook is graded")
    if len(modules) >= MAX_MODULES:
        raise IntakeError(
            f"expected at most {MAX_MODULES} modules, found {len(modules) + 1}",
            hint="hand in only the modules that your work imports",
        )
    beside, left_out = read_beside(modules, partial(_read_beside, entry=alone.entry))
    written = {file.name for file in alone.files}
    beside = [file for file in beside if file.name not in written]
    return _examine(replace(alone, notices=(*notices, *left_out, *alone.notices)), beside, job)


def _examine(alone: Submission, beside: Sequence[SourceFile], job: _Job) -> Submission:
    """Return a submission with its other modules, without what of them cannot be graded."""
    if alone.origin is Origin.NOTEBOOK:
        if not beside:
            return alone
        read = read_modules(beside, replace(job.requirements, exports=()))
        files = (*alone.files, *read.files)
    else:
        read = read_modules((*alone.files, *beside), job.requirements)
        files = read.files
    return replace(
        alone,
        files=files,
        notices=(*alone.notices, *read.notices),
        broken=(*alone.broken, *read.broken),
    )


def _sort(work: Work) -> tuple[dict[str, bytes], dict[str, bytes], list[str]]:
    """Return modules and notebooks beside the graded file, and notices about other files."""
    modules: dict[str, bytes] = {}
    notebooks: dict[str, bytes] = {}
    others: list[str] = list(work.elsewhere)
    shadowing: list[str] = []
    for name, content in work.files.items():
        stem, _, suffix = name.rpartition(".")
        kind = suffix.lower() if "/" not in name else ""
        if kind == "ipynb":
            notebooks[name] = content
        elif kind == "py" and shadows(stem) and name != work.chosen:
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
    if others:
        notices.append(
            f"not used: {list_names(others)}; only modules beside the graded file can be imported"
        )
    return modules, notebooks, notices


def _read_entry(file_name: str, content: bytes, job: _Job) -> Submission:
    """Return the submission that the graded file alone would be."""
    stem, _, suffix = file_name.rpartition(".")
    entry = name_module(stem)
    notices: tuple[str, ...] = ()
    if entry != stem:
        notices = (
            f"{show(file_name)} is graded as {FALLBACK_MODULE}.py: Python cannot import its name",
        )
    if suffix.lower() == "ipynb":
        alone = _load_notebook(file_name, content, entry=entry, job=job)
        return replace(alone, notices=(*notices, *alone.notices))
    text = decode_source(content, name=file_name)
    if not text.strip():
        raise IntakeError(
            f"expected Python source, found an empty file: {show(file_name)}",
            hint="save your work, and hand in the file again",
        )
    return Submission(
        name=job.name,
        sha256=job.sha256,
        origin=Origin.MODULE,
        entry=entry,
        files=(SourceFile(name=f"{entry}.py", text=text),),
        notices=notices,
    )


def _load_notebook(file_name: str, content: bytes, *, entry: str, job: _Job) -> Submission:
    """Return the submission that a notebook alone is."""
    read = _read_notebook(file_name, content, entry=entry, job=job)
    if read.cuda:
        sources = {
            f"{job.slug}{ENTRY_ENDING}" if name == ENTRY_ENDING else name: text.encode()
            for name, text in read.cuda.items()
        }
        chosen = find_work(sources, slug=job.slug, endings=(ENTRY_ENDING,)).chosen
        made = load_cuda(chosen, sources, (), name=job.name, sha256=job.sha256)
        notice = f"graded as {show(chosen)}: the CUDA C++ in the cells of {show(file_name)}"
        return replace(made, notices=(*read.source.notices, notice, *made.notices))
    module, *written = read.source.files
    files = [replace(module, name=f"{entry}.py")]
    left_out: list[str] = []
    for file in written:
        stem = file.name.removesuffix(".py")
        if is_module_name(stem) and not shadows(stem) and stem.lower() != entry.lower():
            files.append(file)
        else:
            left_out.append(file.name)
    hidden = f"left out: {list_names(left_out)}; Python cannot import it here, choose another name"
    return Submission(
        name=job.name,
        sha256=job.sha256,
        origin=Origin.NOTEBOOK,
        entry=entry,
        files=tuple(files),
        notices=(*read.source.notices, *([hidden] if left_out else [])),
        notebook_json=read.notebook_json,
        broken=read.source.broken,
    )


def _read_notebook(file_name: str, content: bytes, *, entry: str, job: _Job) -> ReadNotebook:
    require_size(file_name, len(content), limit_bytes=MAX_NOTEBOOK_BYTES)
    own = {job.slug, job.slug.lower(), entry, FALLBACK_MODULE}
    try:
        read = read_notebook(content, job.requirements, own=own, cuda=job.cuda)
    except IntakeError as error:
        raise IntakeError(f"{show(file_name)}: {error}", hint=error.hint) from error
    for file in read.source.files:
        size = len(file.text.encode())
        require_size(f"the code of {file_name}", size, limit_bytes=MAX_SOURCE_BYTES)
        require_utf8_declared(file.text, name=file_name)
    return read


def _read_beside(file_name: str, content: bytes, *, entry: str) -> SourceFile:
    stem = file_name.rpartition(".")[0]
    if not is_module_name(stem) or stem.lower() == entry.lower():
        raise IntakeError("Python cannot import a file of that name")
    return SourceFile(name=f"{stem}.py", text=decode_source(content, name=file_name))
