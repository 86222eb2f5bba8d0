"""Names and text of Python modules: which file is the entry, what may travel with it, its decoding.

Takes: file names and bytes. Gives: module names and source text. Does not cover: notebooks (see
`notebook`); nothing is parsed here, the box reports syntax errors.
"""

import codecs
import keyword
import re
import sys

from grader.errors import IntakeError
from grader.intake.names import show

FALLBACK_MODULE = "submission"

# What the box has imported before the submission comes: a module of the same name would be
# shadowed by it, or would shadow it for everything that imports it later.
_WORKER_MODULES = frozenset(
    """
    torch torchgen functorch triton numpy harness grader runner landlock pyseccomp sympy mpmath
    networkx jinja2 markupsafe filelock fsspec packaging setuptools pkg_resources typing_extensions
    yaml cuda nvidia site sitecustomize usercustomize conftest pip
    """.split()
)
_WORD_BREAKS = re.compile(r"[\s-]+")

# Source: PEP 263, "Defining Python Source Code Encodings".
_ENCODING_LINE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BLANK_OR_COMMENT = re.compile(r"[ \t\f]*(#|$)")
_UTF8_NAMES = frozenset({"utf-8", "utf8", "utf-8-sig"})
_LIKE_ASCII = frozenset(
    {"ascii", "us-ascii", "latin-1", "latin1", "iso-8859-1", "iso-8859-15", "cp1252"}
)


def shadows(module: str) -> bool:
    """Return whether a module of this name would hide one that the box needs."""
    lowered = module.lower()  # some file systems do not tell the cases apart
    return lowered in _WORKER_MODULES or module in sys.stdlib_module_names or lowered == "__init__"


def is_module_name(stem: str) -> bool:
    """Return whether `import stem` could work in the box."""
    return stem.isascii() and stem.isidentifier() and not keyword.iskeyword(stem)


def is_entry(file_name: str, slug: str) -> bool:
    """Return whether a file is named as an assignment asks: after the slug, or `submission`."""
    stem, _, suffix = file_name.rpartition(".")
    return suffix.lower() in ("py", "ipynb", "cu") and _plain(stem) in (
        _plain(slug),
        FALLBACK_MODULE,
    )


def choose_entry(names: tuple[str, ...], *, slug: str, endings: tuple[str, ...]) -> str:
    """Return the file to grade among those that could be it.

    Args:
        names: of the files.
        slug: of the assignment.
        endings: of files that the assignment takes, for messages.

    Raises:
        IntakeError: if there is none, or several and none is named as the assignment asks.
    """
    wanted_names = " or ".join(f"{slug}{ending}" for ending in endings)
    if not names:
        raise IntakeError(
            f"expected a file such as {wanted_names}; found none",
            hint=f"hand in your work as {wanted_names}",
        )
    for wanted in (_plain(slug), FALLBACK_MODULE):
        named = [name for name in names if _plain(name.rpartition(".")[0]) == wanted]
        if len(named) == 1:
            return named[0]
        if named:
            raise IntakeError(
                f"expected one file to grade, found {_listed(named)}",
                hint="keep the one that holds your work, and rename or remove the others",
            )
    if len(names) > 1:
        raise IntakeError(
            f"expected one file to grade or one named {wanted_names}, found {_listed(names)}",
            hint=f"rename the file that holds your work to {slug} and keep its ending",
        )
    return names[0]


def name_module(stem: str) -> str:
    """Return the module name under which an entry file goes into the box."""
    return stem if is_module_name(stem) and not shadows(stem) else FALLBACK_MODULE


def decode_source(content: bytes, *, name: str) -> str:
    """Return the text of a module, all line ends as newlines.

    Raises:
        IntakeError: if it is not UTF-8 text; the hint says how to save it so.
    """
    text = decode_text(content, name=name)
    require_utf8_declared(text, name=name)
    return text


def decode_text(content: bytes, *, name: str) -> str:
    """Return the text of a source file in any language, all line ends as newlines.

    Raises:
        IntakeError: as `decode_source`.
    """
    text = decode_utf8(content, name=name).replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise IntakeError(
            f"expected source code, found binary data in {show(name)}",
            hint="check that you handed in the right file; save it as UTF-8",
        )
    return text


def decode_utf8(content: bytes, *, name: str) -> str:
    """Return bytes as text; a byte order mark of UTF-8 falls away.

    Raises:
        IntakeError: for any other encoding, naming it where it can be told.
    """
    hint = "in your editor, save the file again with the encoding UTF-8"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise IntakeError(f"expected UTF-8 text, found UTF-16 in {show(name)}", hint=hint)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise IntakeError(
            f"expected UTF-8 text, found byte 0x{content[error.start]:02x} on line {line} of "
            f"{show(name)}",
            hint=f"{hint} (it may be Latin-1 or another older encoding, or no text at all)",
        ) from error


def require_utf8_declared(text: str, *, name: str) -> None:
    """Refuse source whose encoding line would make Python read other text than a person does.

    Raises:
        IntakeError: naming the line.
    """
    for number, line in enumerate(text.split("\n", 2)[:2], 1):
        if not _BLANK_OR_COMMENT.match(line):
            return  # Python looks no further either
        match = _ENCODING_LINE.match(line)
        declared = match[1].lower().replace("_", "-") if match else "utf-8"
        if declared in _UTF8_NAMES or (declared in _LIKE_ASCII and text.isascii()):
            continue
        raise IntakeError(
            f"expected UTF-8, found the encoding {show(declared)!r} declared on line {number} of "
            f"{show(name)}",
            hint="remove that line and save the file as UTF-8",
        )


def _plain(stem: str) -> str:
    """Return a file stem as it compares: file systems and people differ in case and dashes."""
    return _WORD_BREAKS.sub("_", stem.strip().lower())


def _listed(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(show(name) for name in sorted(names)[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
