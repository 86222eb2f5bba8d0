"""What only a notebook understands: `%magic`, `!command` and `help?`, taken out line by line.

Takes: a cell's source. Gives: `CleanCell`, Python as far as it goes, with the same line numbers.
Does not cover: which statements are kept (see `statements`).
"""

import ast
import re
import warnings
from dataclasses import dataclass

# Cell magics after which the rest of the cell is ordinary Python.
PYTHON_MAGICS = frozenset({"time", "timeit", "capture", "prun", "memit", "mprun", "lprun"})

_CELL_MAGIC = re.compile(r"\s*%%(\w+)")
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
    """A cell's code, with what Python cannot read taken out where that could be told.

    Attributes:
        lines: as many as the cell has.
        removed: what was taken out, line by line.
        tree: the parsed code; None if it is still no Python.
        problem: what Python says about it; empty if it is none.
        problem_line: where, from 1; 0 if that is not known.
    """

    lines: tuple[str, ...]
    removed: tuple[str, ...]
    tree: ast.Module | None
    problem: str = ""
    problem_line: int = 0


def clean(source: str) -> CleanCell:
    """Return a cell's Python; a cell that parses as it stands stays untouched."""
    lines = source.split("\n")
    whole = _parse(lines, ())
    if whole.tree is not None:
        return whole
    magic = _CELL_MAGIC.match(next((line for line in lines if line.strip()), ""))
    if magic is not None and magic[1] not in PYTHON_MAGICS:
        return _parse([""] * len(lines), tuple(line for line in lines if line.strip()))
    return _parse(*_take_out(_dedent(lines)))


def _parse(lines: list[str], removed: tuple[str, ...]) -> CleanCell:
    text = tuple(lines)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `"\\d"` and the like: the box says what matters
            tree = ast.parse("\n".join(lines))
            # Parsing alone accepts `break` outside a loop, which would keep all else from loading.
            compile(tree, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except SyntaxError as error:
        return CleanCell(
            lines=text,
            removed=removed,
            tree=None,
            problem=error.msg,
            problem_line=error.lineno or 0,
        )
    except (RecursionError, MemoryError, ValueError):
        problem = "nested too deeply for Python to read"
        return CleanCell(lines=text, removed=removed, tree=None, problem=problem)
    return CleanCell(lines=text, removed=removed, tree=tree)


def _dedent(lines: list[str]) -> list[str]:
    """Take the first line's indentation from all lines, as notebooks do when they run a cell."""
    first = next((line for line in lines if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip(" \t"))]
    return [line.removeprefix(indent) for line in lines]


def _take_out(lines: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Put nothing where a magic stood, or `pass` within a block, which may hold only that."""
    kept: list[str] = []
    removed: list[str] = []
    inside = _Inside()
    continues_magic = False
    for line in lines:
        may_start = inside.is_statement_start and not continues_magic
        match = _LINE_MAGIC.match(line) if may_start else None
        if continues_magic or match:
            kept.append(f"{match['indent']}pass" if match and match["indent"] else "")
            removed.append(line)
            continues_magic = line.endswith("\\")
            continue
        inside.pass_over(line)
        kept.append(line)
    return kept, tuple(removed)


class _Inside:
    """Whether the next line begins a statement, or goes on with a bracket, string or backslash."""

    def __init__(self) -> None:
        self._quote = ""
        self._depth = 0
        self._continued = False

    @property
    def is_statement_start(self) -> bool:
        """Whether a magic could stand at the start of the next line."""
        return not self._quote and not self._depth and not self._continued

    def pass_over(self, line: str) -> None:
        """Read one line."""
        self._continued = False
        place = self._leave_quote(line, 0) if self._quote else 0
        while not self._quote and (token := _TOKEN.search(line, place)):
            text, place = token[0], token.end()
            if text in ("'''", '"""'):
                self._quote = text
                place = self._leave_quote(line, place)
            elif text in ("(", "[", "{"):
                self._depth += 1
            elif text in (")", "]", "}"):
                self._depth = max(self._depth - 1, 0)
            elif not text.startswith("#") and text.endswith("\\"):
                self._continued = True

    def _leave_quote(self, line: str, place: int) -> int:
        """Return where the open triple quote ends on this line, or the line's length."""
        while place < len(line):
            if line[place] == "\\":
                place += 2
            elif line.startswith(self._quote, place):
                place += len(self._quote)
                self._quote = ""
                return place
            else:
                place += 1
        return place
