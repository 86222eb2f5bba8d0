"""Splits what students read into sentences: docstrings and rules of a starter, parts of a handout.

Takes: `starter.py` and `README.md`. Gives: passages of sentences, without markup and with white
space folded. Does not cover: whether anybody asks what they say (see `ledger`).

In docstrings in Google's style, each entry of `Args`, `Returns` and `Raises` begins a sentence.
Tables and code of a handout have no sentences.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

STARTER = "starter.py"
HANDOUT = "README.md"
RULES = "Rules that hold everywhere"
"""How the rules begin that stand in a starter's first cell; they end where the cell ends."""

_LINK = re.compile(r"\[([^\]]+)\]\([^)\s]+\)")
_EMPHASIS = re.compile(r"(?<![^\s(\[])\*+(?=[^\s*])|(?<=[^\s*])\*+(?![^\s.,;:!?)\]])")
_END = re.compile(r"(?<=[.!?])\**\s+(?=[A-Z0-9(\[\"'`*_])")
_HEADER = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Note|Example):$")
_NAMED = re.compile(r"\w[\w, .]*: ")
_BULLET = re.compile(r"\s*(?:[-*]|\d+\.)\s+")
_HEADING = re.compile(r"#{1,6}\s+(?P<title>.*\S)")
_LEAD = re.compile(r"\*\*(?P<title>[^*]+?)\.?\*\*")

Lines = Iterable[tuple[int, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence, folded, and the line of the paragraph or entry that it stands in."""

    text: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Sentences that stand together.

    Attributes:
        file: `starter.py` or `README.md`.
        place: name whose docstring it is, such as `KVCache.append`; or title of a section.
        sentences: in order.
    """

    file: str
    place: str
    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        """All sentences, with a space between them."""
        return " ".join(sentence.text for sentence in self.sentences)


def fold(text: str) -> str:
    """Return a text without backticks, emphasis and targets of links, its white space folded."""
    plain = _LINK.sub(r"\1", " ".join(text.split())).replace("`", "")
    return " ".join(_EMPHASIS.sub("", plain).split())


def read_starter(text: str, exports: Iterable[str]) -> tuple[Passage, ...]:
    """Return the rules of a starter, and the docstrings of exported names and their public members.

    Raises:
        SyntaxError: if the text is no Python.
    """
    body = ast.parse(text).body
    wanted = set(exports)
    named = [node for node in body if getattr(node, "name", "") in wanted]
    found = [_passage(STARTER, RULES, _rules(text))]
    found += [passage for node in named for passage in _docstrings(node, "")]
    return tuple(passage for passage in found if passage.sentences)


def read_handout(text: str, title: str) -> Passage:
    """Return a section of a handout, named by its heading or by the bold words that it begins with.

    It has no sentences if there is no such section.
    """
    return _passage(HANDOUT, title, _section(text, title))


def _docstrings(node: ast.stmt, prefix: str) -> Iterator[Passage]:
    if not isinstance(node, ast.ClassDef | ast.FunctionDef):
        return
    name = f"{prefix}{node.name}"
    text = ast.get_docstring(node)
    if text:
        lines = enumerate(text.splitlines(), node.body[0].lineno)
        yield _passage(STARTER, name, lines)
    if isinstance(node, ast.ClassDef):
        for child in node.body:
            member = getattr(child, "name", "_")
            if member == "__init__" or not member.startswith("_"):
                yield from _docstrings(child, f"{name}.")


def _rules(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of the rules, without the marks of a comment."""
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        content = line.removeprefix("#").removeprefix(" ")
        inside = line.startswith("#") and not content.startswith("%%") and inside
        inside = inside or (line.startswith("#") and content.startswith(RULES))
        if inside:
            yield number, content.removeprefix(RULES).removeprefix(":").strip()


def _section(text: str, title: str) -> Iterator[tuple[int, str]]:
    """Yield the prose lines of a section; one that begins with bold words is a paragraph."""
    by_heading = by_lead = fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        if fenced or line.lstrip().startswith("```"):
            continue
        if heading := _HEADING.match(line):
            by_heading, by_lead = fold(heading["title"]) == title, False
            continue
        if lead := _LEAD.match(line):
            by_lead = fold(lead["title"]) == title
        by_lead = by_lead and bool(line.strip())
        if (by_heading or by_lead) and not line.startswith(("|", "    ")):
            yield number, line


def _passage(file: str, place: str, lines: Lines) -> Passage:
    sentences = [
        Sentence(text=sentence, line=number)
        for number, paragraph in _paragraphs(lines)
        for sentence in (fold(part) for part in _END.split(paragraph))
        if re.search(r"\w", sentence)
    ]
    return Passage(file=file, place=place, sentences=tuple(sentences))


def _paragraphs(lines: Lines) -> Iterator[tuple[int, str]]:
    """Yield paragraphs, bullets and entries of sections, each with its first line's number."""
    first, parts, section, indent = 0, list[str](), "", -1
    for number, line in (*lines, (0, "")):
        header = _HEADER.match(line)
        if header:
            section, indent, line = header[1], -1, ""
        elif section and line.strip():
            width = len(line) - len(line.lstrip())
            indent = width if indent < 0 else indent
        entry = _begins_entry(line, section, indent)
        if parts and (not line.strip() or entry):
            yield first, " ".join(parts)
            parts = []
        if line.strip():
            first = first if parts else number
            parts.append(_BULLET.sub("", line, 1) if _BULLET.match(line) else line.strip())


def _begins_entry(line: str, section: str, indent: int) -> bool:
    """Return whether a line begins a bullet, or an entry of a docstring's section."""
    if _BULLET.match(line):
        return True
    at_indent = bool(section) and len(line) - len(line.lstrip()) == indent
    return at_indent and bool(section in ("Args", "Attributes") or _NAMED.match(line.strip()))
