"""Taking in work in CUDA C++: one `.cu` file, and what it includes.

Takes: names and bytes of files. Gives: `admit_cuda`. Does not cover: compiling it (see
`cuda_cpp.builder`).

The file that is graded keeps a plain name of its own, so that messages of the compiler name the
student's file. Other C++ files at the top travel along, to be included.
"""

import re
from collections.abc import Mapping

from grader.errors import IntakeError
from grader.intake.contents import Contents
from grader.intake.disk import MIB, require_size
from grader.intake.modules import FALLBACK_MODULE, decode_text
from grader.intake.names import show
from grader.intake.submission import Origin, SourceFile, Submission

ENTRY_ENDING = ".cu"
ENDINGS = (ENTRY_ENDING, ".cuh", ".h", ".hpp")
MAX_SOURCES = 20
MAX_SOURCE_BYTES = 1 * MIB
MAX_LISTED = 10

# Goes into a command line and a file system: letters, digits, and no leading dash or dot.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def is_cuda_source(file_name: str) -> bool:
    """Return whether a file, named relative to the top of the work, is C++ and lies at the top."""
    return "/" not in file_name and file_name.lower().endswith(ENDINGS)


def is_cuda_entry(file_name: str) -> bool:
    """Return whether a file could be the one to grade."""
    return file_name.lower().endswith(ENTRY_ENDING)


def admit_cuda(
    chosen: str, sources: Mapping[str, bytes], contents: Contents, *, name: str
) -> Submission:
    """Return a submission in CUDA C++.

    Args:
        chosen: the file to grade.
        sources: all C++ files at the top, by name.
        contents: all that was handed in.
        name: of the student.

    Raises:
        IntakeError: if the file is empty, too large or no text, or there are too many.
    """
    if len(sources) > MAX_SOURCES:
        raise IntakeError(
            f"expected at most {MAX_SOURCES} C++ files, found {len(sources)}",
            hint="hand in only the files that your work includes",
        )
    text = _read(chosen, sources[chosen])
    if not text.strip():
        raise IntakeError(
            f"expected CUDA C++, found an empty file: {show(chosen)}",
            hint="save your work and hand it in again",
        )
    stem = chosen[: -len(ENTRY_ENDING)]
    entry = stem if _PLAIN_NAME.fullmatch(stem) else FALLBACK_MODULE
    notices = _notices(chosen, entry, sources, contents)
    beside = [_beside(n, c, entry, notices) for n, c in sources.items() if n != chosen]
    return Submission(
        name=name,
        sha256=contents.sha256,
        origin=Origin.CUDA,
        entry=entry,
        files=(SourceFile(name=f"{entry}.cu", text=text), *(f for one in beside for f in one)),
        notices=tuple(notices),
    )


def _notices(
    chosen: str, entry: str, sources: Mapping[str, bytes], contents: Contents
) -> list[str]:
    """Say what becomes of names, and which files do not travel."""
    notices = []
    if chosen[: -len(ENTRY_ENDING)] != entry:
        notices.append(f"{show(chosen)} is graded as {entry}.cu: its own name is not plain")
    unused = [file.name for file in contents.files if file.name not in sources]
    if unused:
        shown = ", ".join(show(one) for one in sorted(unused)[:MAX_LISTED])
        notices.append(f"not used: {shown}; only C++ files at the top travel with a .cu file")
    return notices


def _beside(
    file_name: str, content: bytes, entry: str, notices: list[str]
) -> tuple[SourceFile, ...]:
    """Return a file that travels along, or say why it does not; it alone rejects nothing."""
    if not _PLAIN_NAME.fullmatch(file_name) or file_name.lower() == f"{entry}.cu".lower():
        notices.append(f"left out: {show(file_name)}; use letters, digits, _, - and . in names")
        return ()
    try:
        return (SourceFile(name=file_name, text=_read(file_name, content)),)
    except IntakeError as error:
        notices.append(f"left out: {show(file_name)}; {error}")
        return ()


def _read(file_name: str, content: bytes) -> str:
    require_size(file_name, len(content), limit_bytes=MAX_SOURCE_BYTES)
    return decode_text(content, name=file_name)
