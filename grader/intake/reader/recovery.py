"""Finds what compiles around a syntax error: one block at top level is lost, the others are kept.

A block begins at a line without indentation. Line numbers stay the same: broken lines become empty.
"""

import ast
import keyword
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .cells import clip

MAX_JOINED = 30
MAX_JOINED_TEXT = 300
"""Lines without indentation that one statement may hold: in brackets, in a string of many lines."""
MAX_SEARCHES = 20
MAX_BROKEN = 100
MAX_NAMES = 50

_CONFLICT_START = re.compile(r"<{7}(?!<)")
_CONFLICT_END = re.compile(r">{7}(?!>)")
_GOES_ON = re.compile(r"[\s)\]}#]|(?:else|elif|except|finally)\b")
_DEFINES = re.compile(r"(?:async\s+def|def|class)\s+(\w+)")
_ASSIGNS = re.compile(r"([A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*)\s*(?::[^=]*)?=(?!=)")
_IMPORTS = re.compile(r"(?:from\s+\S+\s+)?import\s+(.+)")
_FUTURE = re.compile(r"from\s+__future__\s+import\s+[\w ,]+(?:#.*)?")
_HOLDS_BLOCK = re.compile(r"(?:async|def|class|if|for|while|with|try|@)\b|@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A block that does not compile.

    Attributes:
        names: what it would define, as far as a glance can tell.
        line: of the error, from 1.
        message: Python's, with the source line.
        in_notebooks: whether notebooks run it: it awaits something outside a function.
    """

    names: tuple[str, ...]
    line: int
    message: str
    is_conflict: bool = False
    in_notebooks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What is left of broken source: as many lines as before, and their tree."""

    lines: tuple[str, ...]
    tree: ast.Module
    broken: tuple[Broken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What Python says against some lines.

    Attributes:
        line: from 1; 0 if not known.
        start: index of the first of the lines.
        is_indent: whether a line has an indentation that nothing opens.
    """

    message: str
    line: int = 0
    start: int = 0
    is_indent: bool = False


def parse(lines: Sequence[str], flags: int = 0) -> tuple[ast.Module | None, Problem]:
    """Return the tree of some lines, or None and why there is none; `flags` are the compiler's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `"\\d"` and the like: the import shows what matters
            tree = ast.parse("\n".join(lines))
            # Parsing alone accepts `break` outside a loop, which would make the whole import fail.
            compile(tree, "<cell>", "exec", flags, dont_inherit=True)
        return tree, Problem(message="")
    except SyntaxError as error:
        message = f"{type(error).__name__}: {clip(error.msg, 100)}"
        is_indent = isinstance(error, IndentationError) and error.msg.startswith("unexpected")
        return None, Problem(message=message, line=error.lineno or 0, is_indent=is_indent)
    except (RecursionError, MemoryError, ValueError):
        return None, Problem(message="SyntaxError: nested too deeply for Python to read")


def recover(lines: list[str], take_out: Callable[[list[str]], list[str]]) -> Rest:
    """Return what compiles of some lines; `take_out` removes magics from a block."""
    starts = [*_starts(lines), len(lines)]
    kept = [""] * len(lines)
    broken: list[Broken] = []
    index = before = failures = 0
    after_broken = False
    while index < len(starts) - 1:
        first = starts[index]
        reach = MAX_JOINED_TEXT if failures < MAX_SEARCHES else 1
        ends = starts[index + 1 : index + 1 + reach]
        block, problem = _shortest(lines[first : ends[-1]], [e - first for e in ends], take_out)
        if block:
            kept[first : first + len(block)] = block
            index, before = index + 1 + ends.index(first + len(block)), first
            after_broken = False
            continue
        # An indented line too many: the block before it is not what its author wrote either.
        begin = before if problem.is_indent and _HOLDS_BLOCK.match(lines[before]) else first
        kept[begin:first] = [""] * (first - begin)
        end = ends[0] if failures < MAX_BROKEN else len(lines)
        failures += 1
        found = _describe(lines, (begin, end), replace(problem, start=first))
        if found.names or not after_broken:  # the next lines of a text are no news
            broken.append(found)
        after_broken = True
        index, before = starts.index(end), first
    kept = _with_future_first(kept)
    whole, problem = parse(kept)
    if whole is None:  # each block compiles, and all of them together do not
        broken = [_describe(lines, (0, len(lines)), problem)]
        kept, whole = [""] * len(lines), ast.Module([], [])
    return Rest(lines=tuple(kept), tree=whole, broken=tuple(broken))


def _with_future_first(lines: list[str]) -> list[str]:
    """Move `from __future__` imports to the first line, where Python wants them.

    Notebooks run them in any cell, and can be exported. Before a block on line 1 they just go.
    """
    late = [line for line in lines[1:] if _FUTURE.fullmatch(line)]
    if not late:
        return lines
    rest = ["" if line in late else line for line in lines]
    first = "; ".join(line.partition("#")[0].strip() for line in dict.fromkeys(late))
    is_code = rest[0].strip() and rest[0][0] != "#"
    moved = [f"{first}; {rest[0]}" if is_code else first, *rest[1:]]
    return next((one for one in (moved, rest) if parse(one)[0] is not None), lines)


def _shortest(
    lines: list[str], ends: Sequence[int], take_out: Callable[[list[str]], list[str]]
) -> tuple[list[str], Problem]:
    """Return the shortest block from the first line on that compiles, or what is wrong there."""
    tree, problem = parse(lines[: ends[0]])
    quotes = 0
    done = 0
    is_text = _quotes(lines[: ends[0]]) % 2 == 1
    for end in ends[: MAX_JOINED_TEXT if is_text else MAX_JOINED]:
        quotes += _quotes(lines[done:end])
        done = end
        if quotes % 2 and end != ends[-1]:
            continue  # within a string of several lines
        for block in (lines[:end], take_out(lines[:end])):
            tree, _ = parse(block)
            if tree is not None:
                return block, problem
    return [], problem


def _quotes(lines: Sequence[str]) -> int:
    return sum(line.count('"""') + line.count("'''") for line in lines)


def _starts(lines: Sequence[str]) -> list[int]:
    """Return where blocks begin; a merge conflict is one block, with the block that it is in."""
    starts = [0]
    in_conflict = False
    after_decorator = False
    for index, line in enumerate(lines):
        if in_conflict:
            in_conflict = not _CONFLICT_END.match(line)
        elif _CONFLICT_START.match(line):
            in_conflict = True
            inside = next((one for one in lines[index + 1 :] if one.strip()), "")
            if not _GOES_ON.match(inside):
                starts.append(index)
        elif line.strip() and not _GOES_ON.match(line):
            if not after_decorator:
                starts.append(index)
            after_decorator = line.startswith("@")
    return sorted(set(starts))


def _describe(lines: Sequence[str], block: tuple[int, int], problem: Problem) -> Broken:
    begin, end = block
    names: dict[str, None] = {}
    mark = 0
    for number, line in enumerate(lines[begin:end], begin + 1):
        if not mark and _CONFLICT_START.match(line):
            mark = number
        if match := _DEFINES.match(line) or _ASSIGNS.match(line):
            names.update(dict.fromkeys(re.findall(r"\w+", match[1])))
        elif match := _IMPORTS.match(line):
            bound = [re.split(r"\s+as\s+", part.strip("() "))[-1] for part in match[1].split(",")]
            names.update(dict.fromkeys(one.split(".")[0] for one in bound if one.isidentifier()))
    number = mark or min(max(problem.start + problem.line, begin + 1), max(end, 1))
    source = clip(lines[number - 1].strip(), 80)
    awaits = parse(lines[begin:end], ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)[0] is not None
    found = (
        "marks of a merge conflict that is not resolved: keep one of the two versions, and delete "
        "the lines with <<<<<<<, ======= and >>>>>>>"
        if mark
        else f"{problem.message}{', as only notebooks can: do without `await`' if awaits else ''}"
    )
    return Broken(
        names=tuple(name for name in names if not keyword.iskeyword(name))[:MAX_NAMES],
        line=number,
        message=f"{found}: `{source}`" if source else found,
        is_conflict=bool(mark),
        in_notebooks=awaits,
    )
