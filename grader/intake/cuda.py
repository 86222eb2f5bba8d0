"""Loads a submission in CUDA C++: the `.cu` file to grade, and the files that it includes.

The file to grade keeps its name, so that compiler output names the student's file. Other C++ files
at the top lie beside it when it is compiled (see `cuda_cpp.builder`).
"""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import partial

from grader.errors import IntakeError
from grader.intake.files import list_names, show
from grader.intake.modules import FALLBACK_MODULE, decode_text, read_beside
from grader.intake.submission import Origin, SourceFile, Submission

ENTRY_ENDING = ".cu"
ENDINGS = (ENTRY_ENDING, ".cuh", ".h", ".hpp")
MAX_SOURCES = 20

# It becomes part of a command line and a path: letters, digits, no leading dash or dot.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def is_cuda_source(file_name: str) -> bool:
    """Return whether a file is C++ and lies at the top of the submission."""
    return "/" not in file_name and file_name.lower().endswith(ENDINGS)


def load_cuda(
    chosen: str,
    sources: Mapping[str, bytes],
    others: Collection[str],
    *,
    name: str,
    sha256: str,
) -> Submission:
    """Return a submission in CUDA C++; `sources` are all C++ files at the top, one is `chosen`.

    `others` are the paths of all other files.

    Raises:
        IntakeError: if the file is empty, too large or not text, or there are too many.
    """
    if len(sources) > MAX_SOURCES:
        raise IntakeError(
            f"expected at most {MAX_SOURCES} C++ files, found {len(sources)}",
            hint="hand in only the files that your code includes",
        )
    text = decode_text(sources[chosen], name=chosen)
    if not text.strip():
        raise IntakeError(
            f"expected CUDA C++, found an empty file: {show(chosen)}",
            hint="save your work, and hand in the file again",
        )
    stem = chosen[: -len(ENTRY_ENDING)]
    entry = stem if _PLAIN_NAME.fullmatch(stem) else FALLBACK_MODULE
    included = {n: source for n, source in sources.items() if n != chosen}
    beside, left_out = read_beside(included, partial(_read_beside, entry=entry))
    return Submission(
        name=name,
        sha256=sha256,
        origin=Origin.CUDA,
        entry=entry,
        files=(SourceFile(name=f"{entry}.cu", text=text), *beside),
        notices=(*_notices(chosen, entry, others), *left_out),
    )


def _notices(chosen: str, entry: str, unused: Collection[str]) -> Iterator[str]:
    if chosen[: -len(ENTRY_ENDING)] != entry:
        yield (
            f"{show(chosen)} is graded as {entry}.cu: use only letters, digits, _, - and . in names"
        )
    if unused:
        yield f"not used: {list_names(unused)}; a .cu file can include only C++ files at the top"


def _read_beside(file_name: str, content: bytes, *, entry: str) -> SourceFile:
    if not _PLAIN_NAME.fullmatch(file_name) or file_name.lower() == f"{entry}.cu".lower():
        raise IntakeError("use only letters, digits, _, - and . in names")
    return SourceFile(name=file_name, text=decode_text(content, name=file_name))
