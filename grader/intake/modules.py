"""Names and text of source files: which may be imported beside the graded one, and decoding.

Nothing is parsed here: syntax errors are reported when the worker imports the module. Notebooks are
read by `intake.notebook`.
"""

import codecs
import keyword
import re
import sys
from collections.abc import Callable, Mapping

from grader.errors import IntakeError
from grader.intake.files import MIB, require_size, show
from grader.intake.submission import SourceFile

FALLBACK_MODULE = "submission"
MAX_SOURCE_BYTES = 1 * MIB

# Imported in the worker before the submission: a module of the same name would be hidden by it,
# or would hide it from everything that imports it later.
_WORKER_MODULES = frozenset(
    """
    torch torchgen functorch triton numpy harness grader runner landlock pyseccomp sympy mpmath
    networkx jinja2 markupsafe filelock fsspec packaging setuptools pkg_resources typing_extensions
    yaml cuda nvidia site sitecustomize usercustomize conftest pip
    """.split()
)

# Source: PEP 263, "Defining Python Source Code Encodings".
_ENCODING_LINE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BLANK_OR_COMMENT = re.compile(r"[ \t\f]*(#|$)")
_UTF8_NAMES = frozenset({"utf-8", "utf8", "utf-8-sig"})
_LIKE_ASCII = frozenset(
    {"ascii", "us-ascii", "latin-1", "latin1", "iso-8859-1", "iso-8859-15", "cp1252"}
)


def shadows(module: str) -> bool:
    """Return whether a module of this name would hide one that the worker needs."""
    lowered = module.lower()  # some file systems do not tell the cases apart
    return lowered in _WORKER_MODULES or module in sys.stdlib_module_names or lowered == "__init__"


def is_module_name(stem: str) -> bool:
    """Return whether `import stem` could work."""
    return stem.isascii() and stem.isidentifier() and not keyword.iskeyword(stem)


def name_module(stem: str) -> str:
    """Return the module name under which the worker imports the entry file."""
    return stem if is_module_name(stem) and not shadows(stem) else FALLBACK_MODULE


def decode_source(content: bytes, *, name: str) -> str:
    """Return the text of a module, all line ends as newlines.

    Raises:
        IntakeError: if it is too large, not UTF-8 text, or says that it is in another encoding.
    """
    text = decode_text(content, name=name)
    require_utf8_declared(text, name=name)
    return text


def decode_text(content: bytes, *, name: str) -> str:
    """Return the text of a source file in any language, all line ends as newlines.

    Raises:
        IntakeError: if it is too large, or neither UTF-8 text nor UTF-16 that says so.
    """
    require_size(name, len(content), limit_bytes=MAX_SOURCE_BYTES)
    hint = "in your editor, save the file again with the encoding UTF-8"
    # Windows' own tools write UTF-16, and say so in the first two bytes.
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise IntakeError(
            f"expected UTF-8 text, found byte 0x{content[error.start]:02x} on line {line} of "
            f"{show(name)}",
            hint=f"{hint} (it may be in Latin-1 or another older encoding, or not be text)",
        ) from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise IntakeError(
            f"expected source code, found binary data in {show(name)}",
            hint="check that you handed in the right file, and save it as UTF-8",
        )
    return text


def read_beside(
    sources: Mapping[str, bytes], read: Callable[[str, bytes], SourceFile]
) -> tuple[list[SourceFile], list[str]]:
    """Return the files beside the graded one, and a notice about each that cannot be read.

    They reject no submission: perhaps the graded file does without them.
    """
    files: list[SourceFile] = []
    notices: list[str] = []
    for name, content in sources.items():
        try:
            files.append(read(name, content))
        except IntakeError as error:
            notices.append(f"left out: {show(name)}; {error}")
    return files, notices


def require_utf8_declared(text: str, *, name: str) -> None:
    """Raise `IntakeError` for an encoding line that makes Python read another text than people."""
    for number, line in enumerate(text.split("\n", 2)[:2], 1):
        if not _BLANK_OR_COMMENT.match(line):
            return  # Python, too, looks no further
        match = _ENCODING_LINE.match(line)
        declared = match[1].lower().replace("_", "-") if match else "utf-8"
        if declared in _UTF8_NAMES or (declared in _LIKE_ASCII and text.isascii()):
            continue
        raise IntakeError(
            f"expected UTF-8, found the encoding {show(declared)!r} declared on line {number} of "
            f"{show(name)}",
            hint="remove that line and save the file as UTF-8",
        )
