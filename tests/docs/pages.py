"""The README and the documentation's pages, and the blocks of code in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GENERATED = frozenset(
    {"commands.md", "authors/assignment_toml.md", "authors/author_words.md", "design/cases.md"}
    # see docs/generate.py
)
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "docker" / "README.md",
    *sorted(DOCS.rglob("*.md")),
)
_BLOCK = re.compile(
    r"(?:<!-- run(?P<slow> slowly)?(?:: exit (?P<code>\d+|any))? -->\n)?"
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block.

    Attributes:
        language: after the fence.
        title: the file that it is, relative to where the page's commands run; empty for none.
        text: its lines.
        run: whether the page's test runs it.
        slow: whether only the slow test does.
        code: the exit code that it must end with; -1 for any.
    """

    language: str
    title: str
    text: str
    run: bool
    slow: bool
    code: int


def name_of(page: Path) -> str:
    """Return a page's path for people."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """Return the fenced blocks of a page, in order."""
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        code = match["code"] or "0"
        yield Block(
            language=match["language"],
            title=match["title"] or "",
            text=match["text"],
            run=match[0].startswith("<!-- run"),
            slow=bool(match["slow"]),
            code=-1 if code == "any" else int(code),
        )


def command_lines(page: Path) -> Iterator[str]:
    """Return the commands that a page shows: lines of `sh` blocks, and those after `$ `."""
    for block in blocks(page):
        for line in block.text.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line[2:]
            elif block.language == "sh" and line.strip() and not line.startswith("#"):
                yield line


def inline_commands(page: Path) -> Iterator[str]:
    """Return the commands between back-ticks in running text."""
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    for match in re.finditer(r"`((?:grader|make) [^`]+)`", prose):
        yield " ".join(match[1].split())
