"""Builds one module from a notebook's cells, and keeps the cell and line of each of its lines."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field

from .cells import Cell, Refusal, clip
from .magics import CleanCell, clean
from .scope import Scope
from .statements import choose, is_future_import

MAX_CODE_CHARS = 1 << 20
MAX_NOTICES = 50

EXPORT = "export"
SCRATCH = "scratch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the module; `cell` and `line` start at 1."""

    text: str
    cell: int
    line: int


@dataclass(slots=True, kw_only=True)
class Module:
    """The module so far.

    Attributes:
        future: `from __future__` imports, which Python requires before everything else.
        notices: what was left out, for the student.
        problems: cells with syntax errors, for the message if nothing else is left.
    """

    future: list[Line] = field(default_factory=list)
    body: list[Line] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[Line]:
        """All lines, in the module's order."""
        return [*self.future, *self.body]


_Edit = tuple[ast.stmt, str]
"""A statement, and the text that replaces it."""


def assemble(cells: Sequence[Cell]) -> Module:
    """Return the module of a notebook.

    Raises:
        Refusal: if no cell holds anything to grade.
    """
    code = [cell for cell in cells if cell.kind == "code"]
    if not code:
        raise Refusal(
            f"expected code cells, found none among {len(cells)} cells",
            "write your code into code cells, save the notebook, and hand it in",
        )
    if sum(len(cell.source) for cell in code) > MAX_CODE_CHARS:
        raise Refusal(
            f"expected at most {MAX_CODE_CHARS >> 20} MiB of code, found more",
            "remove data from the code cells",
        )
    exported = [cell for cell in code if EXPORT in cell.tags]
    module = Module()
    if exported:
        _assemble_exported(exported, code, module)
    else:
        _assemble_untagged(code, module)
    if not any(line.text.strip() for line in module.lines):
        _refuse_empty(code, exported, module)
    if len(module.notices) > MAX_NOTICES:
        more = len(module.notices) - MAX_NOTICES
        module.notices[MAX_NOTICES:] = [f"{more} more notices of this kind were left out"]
    return module


def _refuse_empty(code: list[Cell], exported: list[Cell], module: Module) -> None:
    problem = f"; {module.problems[0]}" if module.problems else ""
    if exported:
        message = f"expected code in the cells tagged `{EXPORT}`, found none{problem}"
    else:
        message = (
            f"expected imports, functions, classes or constants, found none in {len(code)} "
            f"code {'cell' if len(code) == 1 else 'cells'}{problem}"
        )
    raise Refusal(
        message, "check that you handed in the notebook that holds your work, and that you saved it"
    )


def _assemble_exported(exported: list[Cell], code: list[Cell], module: Module) -> None:
    others = len(code) - len(exported)
    if others:
        numbers = ", ".join(str(cell.number) for cell in exported[:20])
        numbers += ", …" if len(exported) > 20 else ""
        module.notices.append(
            f"only the cells tagged `{EXPORT}` are graded: {numbers} (counted from the top, "
            f"with text cells); {others} other code {'cell is' if others == 1 else 'cells are'} not"
        )
    for cell in exported:
        cleaned = clean(cell.source)
        _note_removed(cell, cleaned, module)
        if cleaned.tree is None:
            module.problems.append(_describe_problem(cell, cleaned))
        statements = cleaned.tree.body if cleaned.tree else []
        future = [statement for statement in statements if is_future_import(statement)]
        for statement in future:
            _hoist(statement, cell, module)
        lines, _ = _apply(cleaned.lines, [(statement, "") for statement in future])
        _append(cell, list(enumerate(lines, 1)), module)


def _assemble_untagged(code: list[Cell], module: Module) -> None:
    cells = [c for c in code if SCRATCH not in c.tags and not c.is_course_test]
    tests = [str(c.number) for c in code if c.is_course_test]
    if tests:
        module.notices.append(f"cells with the course's own tests are not used: {', '.join(tests)}")
    cleaned = [clean(cell.source) for cell in cells]
    parsed = [statement for c in cleaned if c.tree for statement in c.tree.body]
    lazy = any(
        isinstance(s, ast.ImportFrom) and any(alias.name == "annotations" for alias in s.names)
        for s in parsed
        if is_future_import(s)
    )
    scope = Scope(lazy_annotations=lazy)
    for cell, clean_cell in zip(cells, cleaned, strict=True):
        _note_removed(cell, clean_cell, module)
        if clean_cell.tree is None:
            problem = _describe_problem(cell, clean_cell)
            module.problems.append(problem)
            module.notices.append(f"{problem}; the cell was left out")
        else:
            _add_statements(cell, clean_cell, scope, module)


def _add_statements(cell: Cell, cleaned: CleanCell, scope: Scope, module: Module) -> None:
    """Add the statements of a cell that are kept, and one notice per reason for the others."""
    assert cleaned.tree is not None
    edits: list[_Edit] = []
    dropped: dict[str, list[str]] = {}
    keeps_any = False
    for statement in cleaned.tree.body:
        if is_future_import(statement):
            _hoist(statement, cell, module)
            edits.append((statement, ""))
            continue
        choice = choose(statement, scope)
        keeps_any = keeps_any or choice.kept
        if not choice.kept or choice.replacement:
            edits.append((statement, choice.replacement))
            if not choice.is_silent:
                first = _first_line(cleaned.lines, statement)
                dropped.setdefault(choice.reason, []).append(first)
    for reason, statements in dropped.items():
        count = f" ({len(statements)} statements)" if len(statements) > 1 else ""
        because = f": {reason}" if reason else ""
        module.notices.append(f"cell {cell.number}: dropped `{statements[0]}`{count}{because}")
    if not keeps_any:
        return
    edited, gone = _apply(cleaned.lines, edits)
    lines = [(n + 1, line) for n, line in enumerate(edited) if n not in gone]
    text = "\n".join(line for _, line in lines)
    if edits and clean(text).tree is None:  # a stray backslash, at worst
        module.notices.append(
            f"cell {cell.number} could not be split into statements and was left out; to have it "
            f"graded as it is, tag it `{EXPORT}`"
        )
        return
    _append(cell, lines, module)


def _note_removed(cell: Cell, cleaned: CleanCell, module: Module) -> None:
    if cleaned.removed:
        count = len(cleaned.removed)
        lines = f" ({count} lines)" if count > 1 else ""
        module.notices.append(f"cell {cell.number}: dropped `{clip(cleaned.removed[0])}`{lines}")


def _describe_problem(cell: Cell, cleaned: CleanCell) -> str:
    where = f" on line {cleaned.problem_line}" if cleaned.problem_line else ""
    return f"cell {cell.number} has a syntax error{where}: {clip(cleaned.problem, 100)}"


def _first_line(lines: Sequence[str], statement: ast.stmt) -> str:
    on_one_line = statement.end_lineno == statement.lineno
    end = statement.end_col_offset if on_one_line else None
    raw = lines[statement.lineno - 1].encode()[statement.col_offset : end]
    return clip(raw.decode(errors="replace"))


def _hoist(statement: ast.stmt, cell: Cell, module: Module) -> None:
    module.future.append(Line(text=ast.unparse(statement), cell=cell.number, line=statement.lineno))


def _append(cell: Cell, lines: Sequence[tuple[int, str]], module: Module) -> None:
    module.body += [Line(text=text, cell=cell.number, line=number) for number, text in lines]


def _apply(lines: Sequence[str], edits: Sequence[_Edit]) -> tuple[list[str], set[int]]:
    """Return the lines after the edits, and the indices of lines that are empty now.

    Other statements on the line of an edited one (`import a; plot()`) stay as they are: `pass`
    takes the place of a removed statement there.
    """
    raw = [line.encode() for line in lines]
    gone: set[int] = set()
    for node, new in reversed(edits):  # from the end, so that columns before it still hold
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before = raw[first][: node.col_offset]
        after = raw[last][node.end_col_offset or 0 :]
        raw[first : last + 1] = [b""] * (last - first + 1)
        gone |= set(range(first, last + 1))
        text = new.encode() or b"pass"
        if not new and _holds_nothing(before) and _holds_nothing(after):
            continue
        gone -= {first, last}
        raw[first] = before
        raw[last] = (before if first == last else b"") + text + after
    return [line.decode() for line in raw], gone


def _holds_nothing(rest: bytes) -> bool:
    """Return whether the rest of an edited line holds no code: comments and `pass` do not count."""
    return all(part.strip() in (b"", b"pass") for part in rest.split(b"#")[0].split(b";"))
