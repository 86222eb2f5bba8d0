"""Takes out of a cell what only a notebook understands: `%magic`, `!command` and `help?`.

Line numbers stay the same. Which statements are kept is decided in `statements`.
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
    """A cell's code, without the lines that only a notebook understands.

    Attributes:
        lines: as many as the cell has.
        tree: the parsed code; None if it still has a syntax error.
        problem: Python's message about that error; empty if there is none.
        problem_line: its line, from 1; 0 if that is not known.
    """

    lines: tuple[str, ...]
    removed: tuple[str, ...]
    tree: ast.Module | None
    problem: str = ""
    problem_line: int = 0


def clean(source: str) -> CleanCell:
    """Return a cell's Python; a cell that parses as it is stays untouched."""
    lines = source.split("\n")
    whole = _parse(lines, ())
    if whole.tree is not None:
        return whole
    magic = _CELL_MAGIC.match(next((line for line in lines if line.strip()), ""))
    if magic is not None and magic[1] not in PYTHON_MAGICS:
        return _parse([""] * len(lines), tuple(line for line in lines if line.strip()))
    return _parse(*_take_out(_dedent(lines)))


def _parse(lines: list[str], removed: tuple[str, ...]) -> CleanCell:
    tree, problem, problem_line = None, "", 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `"\\d"` and the like: the import shows what matters
            parsed = ast.parse("\n".join(lines))
            # Parsing alone accepts `break` outside a loop, which would make the whole import fail.
            compile(parsed, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        tree = parsed
    except SyntaxError as error:
        problem, problem_line = error.msg, error.lineno or 0
    except (RecursionError, MemoryError, ValueError):
        problem = "nested too deeply for Python to read"
    return CleanCell(
        lines=tuple(lines), removed=removed, tree=tree, problem=problem, problem_line=problem_line
    )


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
