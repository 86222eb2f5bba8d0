"""Names of submissions, made from file names that students chose.

Takes: any text. Gives: names that are safe as folder names, unique within a class; what a course
site put into a file name. Does not cover: names of Python modules (see `modules`).
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

MAX_NAME_CHARS = 80
UNNAMED = "unnamed"

_SHOWN_CHARS = 100

# Source: Canvas's bulk download: <sortable name>[_LATE]_<user>_<attachment>_<file name>.
_CANVAS = re.compile(r"(?P<who>\w+?)(?:_LATE)?_(?P<user>\d+)_(?P<attachment>\d+)_(?P<file>.+)")
_RESUBMISSION = re.compile(r"-\d{1,2}(?=\.[^.]+\Z)")
_GRADESCOPE_EXPORT = re.compile(r"assignment_\d+_export")


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasName:
    """What a file name from a Canvas bulk download says.

    Attributes:
        owner: `<sortable name>_<user>`, the same for all attachments of one student.
        file: the file's name as the student gave it, without the mark of a resubmission.
    """

    owner: str
    file: str


def parse_canvas(name: str) -> tuple[CanvasName, ...]:
    """Return what a Canvas file name says; empty if it is not one."""
    match = _CANVAS.fullmatch(name)
    if match is None:
        return ()
    file = _RESUBMISSION.sub("", match["file"])
    return (CanvasName(owner=f"{match['who']}_{match['user']}", file=file),)


def is_gradescope_export(name: str) -> bool:
    """Return whether a folder is named as Gradescope names a bulk export."""
    return _GRADESCOPE_EXPORT.fullmatch(name) is not None


def make_safe(name: str) -> str:
    """Return `name` in letters, digits, `.`, `_` and `-`, at most 80 of them, no leading dot.

    Accents fall away; letters of other scripts become their code point, so that two students with
    such names can still be told apart.
    """
    safe = "".join(_safe_character(c) for c in unicodedata.normalize("NFKD", name))
    return safe.strip(".-_ ")[:MAX_NAME_CHARS].rstrip(".") or UNNAMED


def make_unique(names: Iterable[str]) -> list[str]:
    """Return the names made safe, later ones with a suffix so that no two are equal in any case."""
    taken: set[str] = set()
    unique: list[str] = []
    for name in map(make_safe, names):
        candidate, count = name, 1
        while candidate.lower() in taken:
            count += 1
            suffix = f"-{count}"
            candidate = name[: MAX_NAME_CHARS - len(suffix)] + suffix
        taken.add(candidate.lower())
        unique.append(candidate)
    return unique


def show(name: str) -> str:
    """Return a hostile name as it may stand in a message: printable, on one line, not long."""
    text = "".join(c if c.isprintable() else "?" for c in name)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


def _safe_character(character: str) -> str:
    if character.isascii():
        return character if character.isalnum() or character in "._-" else "_"
    if unicodedata.combining(character):
        return ""
    return f"u{ord(character):x}" if character.isalnum() else "_"
