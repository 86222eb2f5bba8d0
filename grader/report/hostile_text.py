"""Makes text that a student controls harmless: for pages, for Markdown and for spreadsheets.

Names, messages and captured output may all be hostile. HTML is not covered here: the template
engine escapes every value.
"""

import re

_ANSI = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # system command: title, link
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # control sequence: colours, cursor
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # device control and other strings
    r"|\x1b[ -/]*[0-~]?"
)
_LINE_ENDS = re.compile(r"\r\n|\r|\x0b|\x0c|\x85|\u2028|\u2029")
# Control characters, direction overrides (they reorder what a reader sees) and lone surrogates
# (they cannot be encoded).
_ILLEGIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_MARKDOWN_SPECIAL = re.compile(r"[\\`*_{}\[\]#|~$]")
# A list item, a rule or the underline of a heading, each only at the start of a line.
_MARKDOWN_START = re.compile(r"^(\d{0,9})(?=[-+=]+(?:\s|$)|(?<=\d)[.)](?:\s|$))")
_FORMULA_START = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
_HTML_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_BREAK = "\u200b"


def make_legible(text: str) -> str:
    """Return `text` without terminal sequences, control characters and direction overrides.

    All line ends become newlines; other characters that cannot be shown become U+FFFD.
    """
    return _ILLEGIBLE.sub("\ufffd", _LINE_ENDS.sub("\n", _ANSI.sub("", text)))


def escape_markdown(text: str) -> str:
    """Return `text` as one line of Markdown that shows it literally.

    Punctuation is escaped, HTML becomes entities, and a zero-width space keeps renderers that link
    bare addresses or notify `@names` from doing so.
    """
    line = " ".join(make_legible(text).split())
    line = _MARKDOWN_SPECIAL.sub(lambda match: "\\" + match[0], line)
    line = _MARKDOWN_START.sub(lambda match: match[1] + "\\", line)
    line = line.replace("://", f":{_BREAK}//").replace("@", f"@{_BREAK}")
    line = re.sub(r"(?i)\bwww\.", lambda match: match[0][:-1] + _BREAK + ".", line)
    return line.translate(_HTML_ENTITIES)


def fence_markdown(text: str) -> str:
    """Return `text` as a fenced Markdown block that it cannot close from within."""
    legible = make_legible(text)
    longest = max((len(run) for run in re.findall(r"`+", legible)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{legible.rstrip()}\n{fence}"


def neutralise_formula(text: str) -> str:
    """Return `text` as a spreadsheet cell that no program evaluates.

    A leading apostrophe is what spreadsheets themselves use to mark text.
    """
    cell = text.translate({0: None})
    legible = make_legible(cell).strip()
    starts_formula = legible[:1] in _FORMULA_START
    hidden_start = cell[:1] in {"\t", "\r", "\n"}
    line = " ".join(legible.split())
    return f"'{line}" if starts_formula or hidden_start else line
