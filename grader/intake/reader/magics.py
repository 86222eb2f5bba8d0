"""Takes out of a cell what only a notebook understands: `%magic`, `!command` and `help?`.

Line numbers stay the same. Where a syntax error is left, `recovery` finds what compiles around it.
Which statements are kept is decided in `selection`.
"""

import ast
import re
from dataclasses import dataclass

from .recovery import Broken, parse, recover

# Cell magics after which the rest of the cell is ordinary Python.
PYTHON_MAGICS = frozenset({"time", "timeit", "capture", "prun", "memit", "mprun", "lprun"})

_CELL_MAGIC = re.compile(r"\s*%%(\w+)[ \t]*([^\n]*)")
_LINE_MAGIC = re.compile(
    r"(?P<indent>\s*)(?:"
    r"%{1,2}[A-Za-z_]"  # %matplotlib inline
    r"|!"  # !pip install
    r"|\?{1,2}\w"  # ?torch.topk
    r"|[\w.]+\?{1,2}\s*$"  # torch.topk?
    r"|[A-Za-z_][\w.\[\]'\", ]*=\s*(?:!|%[A-Za-z_])"  # files = !ls
    r")"
)
_TOKEN = re.compile(
    r"'''|\"\"\"|'(?:\\.|[^'\\])*(?:'|\\?$)|\"(?:\\.|[^\"\\])*(?:\"|\\?$)|#.*|[()\[\]{}]|\\$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanCell:
    """A cell's code, without the lines that only a notebook understands and those that are broken.

    Attributes:
        lines: as many as the cell has; empty where something was taken out.
        tree: the parsed lines.
    """

    lines: tuple[str, ...]
    removed: tuple[str, ...]
    tree: ast.Module
    broken: tuple[Broken, ...] = ()


def cell_magic(source: str) -> tuple[str, str]:
    """Return the name and the arguments of a cell's `%%magic`; empty if it has none."""
    match = _CELL_MAGIC.match(source)
    return (match[1], match[2].strip()) if match else ("", "")


def clean(source: str, *, is_file: bool = False) -> CleanCell:
    """Return the Python of a cell, or of a file; what parses as it is stays untouched."""
    lines = source.split("\n")
    tree, _ = parse(lines)
    if tree is not None:
        return CleanCell(lines=tuple(lines), removed=(), tree=tree)
    magic, _ = cell_magic(source)
    if magic and magic not in PYTHON_MAGICS and not is_file:
        removed = tuple(line for line in lines if line.strip())
        return CleanCell(lines=("",) * len(lines), removed=removed, tree=ast.Module([], []))
    lines = lines if is_file else _dedent(lines)
    kept, removed = _take_out(lines)
    tree, _ = parse(kept)
    if tree is not None:
        return CleanCell(lines=tuple(kept), removed=removed, tree=tree)
    rest = recover(lines, lambda block: _take_out(block)[0])
    removed = tuple(lines[one.line - 1] for one in rest.broken if one.in_notebooks)
    return CleanCell(lines=rest.lines, removed=removed, tree=rest.tree, broken=rest.broken)


def _dedent(lines: list[str]) -> list[str]:
    """Remove the first line's indentation from all lines, as notebooks do to run a cell."""
    first = next((line for line in lines if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip(" \t"))]
    return [line.removeprefix(indent) for line in lines]


def _take_out(lines: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Replace each magic by an empty line, or in a block by `pass`."""
    kept: list[str] = []
    removed: list[str] = []
    continuation = _Continuation()
    continues_magic = False
    for line in lines:
        may_start = continuation.is_statement_start and not continues_magic
        match = _LINE_MAGIC.match(line) if may_start else None
        if continues_magic or match:
            kept.append(f"{match['indent']}pass" if match and match["indent"] else "")
            removed.append(line)
            continues_magic = line.endswith("\\")
            continue
        continuation.pass_over(line)
        kept.append(line)
    return kept, tuple(removed)


class _Continuation:
    """Tells whether the next line begins a statement, or is inside a bracket or a string."""

    def __init__(self) -> None:
        self._quote = ""
        self._depth = 0
        self._continued = False

    @property
    def is_statement_start(self) -> bool:
        """Whether a magic could stand at the start of the next line."""
        return not self._quote and not self._depth and not self._continued

    def pass_over(self, line: str) -> None:
        self._continued = False
        position = self._leave_quote(line, 0) if self._quote else 0
        while not self._quote and (token := _TOKEN.search(line, position)):
            text, position = token[0], token.end()
            if text in ("'''", '"""'):
                self._quote = text
                position = self._leave_quote(line, position)
            elif text in ("(", "[", "{"):
                self._depth += 1
            elif text in (")", "]", "}"):
                self._depth = max(self._depth - 1, 0)
            elif not text.startswith("#") and text.endswith("\\"):
                self._continued = True

    def _leave_quote(self, line: str, position: int) -> int:
        """Return where the open triple quote ends on this line, or the line's length."""
        while position < len(line):
            if line[position] == "\\":
                position += 2
            elif line.startswith(self._quote, position):
                position += len(self._quote)
                self._quote = ""
                return position
            else:
                position += 1
        return position
