"""Builds a module from sections, and keeps the cell and line of each of its lines.

A section is a cell of a notebook or a whole file. Which of its statements stay is decided in
`selection`; here they are cut out, and what was left out is noted for the student.
"""

import ast
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from .cells import clip
from .magics import CleanCell
from .notices import Kind, Ledger
from .recovery import parse
from .scope import exported_cell, is_future_import, names_of
from .selection import Decision, Fate, Part, Selection, Zone

MAX_DAMAGED = 50
SCRATCH = "scratch"
_CLOSED = "in a cell that is not graded, but {}: remove the tag `scratch`, or move it elsewhere"
_SCRIPT = 'under `if __name__ == "__main__":`, which grading skips, but {}: move it elsewhere'
_MAGIC = (
    "in a cell with a `%%` magic, which only notebooks run, but {}: hand in the notebook itself, "
    "or take that first line out of the cell and export it again"
)

_KINDS = {
    Fate.TAKEN: Kind.TAKEN,
    Fate.UNUSED: Kind.UNUSED,
    Fate.EFFECT: Kind.EFFECT,
    Fate.IMPORT: Kind.IMPORT,
    Fate.NEEDS: Kind.NEEDS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the module; `cell` and `line` start at 1."""

    text: str
    cell: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Section:
    """A cell or a file.

    Attributes:
        place: `In [3]`, or the name of the file.
        number: of the cell, among all cells; 0 for a file.
    """

    code: CleanCell
    zone: Zone
    place: str
    number: int = 0

    def place_of(self, line: int) -> str:
        """Return the place of one of its lines."""
        return f"{self.place}, line {line}"

    def lines_of(self, statement: ast.stmt) -> Sequence[str]:
        """Return the lines of a statement; none if it shares one of them with another."""
        lines = self.code.lines[_first(statement) - 1 : statement.end_lineno]
        end = (statement.end_col_offset or 0) if statement.end_lineno else 0
        alone = statement.col_offset == 0 and not lines[-1].encode()[end:].strip()
        return lines if alone else ()

    def first_line(self, statement: ast.stmt) -> str:
        """Return the first line of a statement, without others on that line."""
        first = _first(statement)
        on_one_line = statement.end_lineno == first
        end = statement.end_col_offset if on_one_line else None
        raw = self.code.lines[first - 1].encode()[statement.col_offset : end]
        return raw.decode(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked of a submission, and what it holds itself.

    Attributes:
        exports: names that problems need.
        allowed: top-level modules that may be imported, the student's own among them.
        own: names under which the module that is graded could import itself.
        cuda: whether CUDA C++ is graded as well.
    """

    exports: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    cuda: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """Code that cannot be graded, as `intake.submission.BrokenStatement` has it."""

    kind: str
    names: tuple[str, ...]
    place: str
    message: str


@dataclass(slots=True, kw_only=True)
class Module:
    """A module, and what there is to say about it.

    Attributes:
        future: `from __future__` imports, which Python requires before everything else.
        defined: names that it binds itself, other than by imports.
    """

    future: list[Line] = field(default_factory=list)
    body: list[Line] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    damaged: list[Damaged] = field(default_factory=list)
    defined: set[str] = field(default_factory=set)

    @property
    def lines(self) -> list[Line]:
        """All lines, in the module's order."""
        return [*self.future, *self.body]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to grade."""
        return not any(line.text.strip() for line in self.lines)

    def defines(self, names: Collection[str]) -> bool:
        """Return whether it defines one of some names; without names, anything at all."""
        defined = self.defined
        return bool(defined & set(names)) if names else bool(defined)

    @property
    def notices(self) -> list[str]:
        """What to tell the student."""
        return [*(f"{d.place}: {d.message}" for d in self.damaged), *self.ledger.sentences()]


_Edit = tuple[ast.stmt, str]
"""A statement, and the text that replaces it."""


def build(sections: Sequence[Section], wanted: Wanted) -> Module:
    """Return the module that some sections make, in their order."""
    return _Assembly(sections, wanted).build()


class _Assembly:
    def __init__(self, sections: Sequence[Section], wanted: Wanted) -> None:
        self._module = Module()
        self._sections = sections
        self._own = wanted.own
        statements = [s for section in sections for s in section.code.tree.body]
        lazy = any(
            alias.name == "annotations"
            for s in statements
            if isinstance(s, ast.ImportFrom) and is_future_import(s)
            for alias in s.names
        )
        self._parts = {
            statement: Part(
                node=statement,
                names=names_of(statement, section.lines_of(statement), lazy_annotations=lazy),
                zone=section.zone,
                place=section.place_of(_first(statement)),
            )
            for section in sections
            for statement in section.code.tree.body
            if not is_future_import(statement)
        }
        self._selection = Selection(
            list(self._parts.values()),
            exports=sorted(wanted.exports),
            allowed=wanted.allowed,
            own=wanted.own,
            broken={
                name: section.zone
                for section in sections
                if section.zone is not Zone.CLOSED
                for broken in section.code.broken
                for name in broken.names
            },
            lazy_annotations=lazy,
        )
        self._lost: list[set[str]] = []
        self._missing: list[tuple[Part, str]] = []

    def build(self) -> Module:
        decisions = []
        for section in self._sections:
            statements = [s for s in section.code.tree.body if s in self._parts]
            decisions.append({s: self._selection.decide(self._parts[s]) for s in statements})
        for section, decided in zip(self._sections, decisions, strict=True):
            if section.zone is not Zone.CLOSED:
                self._add(section, decided)
        self._note_damage()
        return self._module

    def _add(self, section: Section, decided: dict[ast.stmt, Decision]) -> None:
        """Add the statements of a section that are kept, and note the others."""
        edits = self._edit(section, decided)
        if section.zone is not Zone.OPEN:
            for line in section.code.removed:
                self._module.ledger.add(Kind.MAGIC, line, section.place)
        lines, gone = _apply(section.code.lines, edits)
        numbered = list(enumerate(lines, 1))
        if section.zone is not Zone.GRADED:
            if not any(_stays(decision) for decision in decided.values()):
                return
            numbered = [(n, line) for n, line in numbered if n - 1 not in gone]
        # A backslash before a statement that goes may join what is left.
        if edits and parse([line for _, line in numbered])[0] is None:
            self._module.ledger.add(Kind.SPLIT, section.code.lines[0], section.place)
            numbered = [(n, "") for n, _ in numbered]
        cell = section.number
        self._module.body += [Line(text=text, cell=cell, line=n) for n, text in numbered]

    def _edit(self, section: Section, decided: dict[ast.stmt, Decision]) -> list[_Edit]:
        """Return how a section changes, and note why."""
        edits: list[_Edit] = []
        for statement in section.code.tree.body:
            if statement not in decided:  # `from __future__`, already first in a file
                if section.number:
                    self._hoist(statement, section)
                    edits.append((statement, ""))
                continue
            decision = decided[statement]
            self._note(statement, decision, section)
            if decision.fate not in (Fate.KEPT, Fate.TAKEN):
                edits.append((statement, decision.replacement))
            elif not isinstance(statement, ast.Import | ast.ImportFrom):
                self._module.defined |= self._parts[statement].names.binds
        return edits

    def _hoist(self, statement: ast.stmt, section: Section) -> None:
        line = Line(text=ast.unparse(statement), cell=section.number, line=statement.lineno)
        self._module.future.append(line)

    def _note(self, statement: ast.stmt, decision: Decision, section: Section) -> None:
        part = self._parts[statement]
        if decision.fate is Fate.LOST:
            self._lost.append({*decision.names, *part.names.binds})
        kind = _KINDS.get(decision.fate)
        first_line = section.first_line(statement)
        if kind is Kind.NEEDS and part in self._selection.needed:
            name = decision.names[0]
            below = next((p.place for p in self._parts.values() if name in p.names.binds), "")
            hint = f" before {below}, which is further down: move that up" if below else ""
            message = f"NameError: name {name!r} is not defined{hint}: `{clip(first_line)}`"
            self._missing.append((part, message))
            return
        if kind is None:
            return
        place = section.place if section.number else part.place
        needs = decision.names if kind is Kind.NEEDS else ()
        items = [first_line if kind is Kind.EFFECT else part.title or first_line]
        if kind is Kind.IMPORT:
            items = [name for name in decision.names if name.partition(".")[0] != "grader"]
        for item in items:
            self._module.ledger.add(kind, item, place, needs=needs)

    def _note_damage(self) -> None:
        for section in self._sections:
            for broken in section.code.broken if section.zone is not Zone.CLOSED else ():
                unused = self._selection.relevant.isdisjoint(broken.names)
                if unused and (section.zone is Zone.OPEN or broken.in_notebooks):
                    continue
                kind = "conflict" if broken.is_conflict else "syntax"
                place = section.place_of(broken.line)
                self._damage(kind, broken.names, place=place, message=broken.message)
        for part, message in self._missing:
            self._damage("missing", part.names.binds, place=part.place, message=message)
        for absent in self._selection.absent:
            message = (
                f"ModuleNotFoundError: No module named '{clip(absent.module)}' where work is "
                "graded, because neither the assignment nor a file of yours provides it, but "
                f"`{absent.user}` uses it"
            )
            if absent.module in self._own:
                message = (
                    f"ImportError: `{absent.name}` should come from this file itself, and no cell "
                    "that is graded defines it: hand in the file that does"
                )
            self._damage("import", {absent.name}, place=absent.part.place, message=message)
        for name, part, user in self._selection.unseen():
            uses = f"`{user}` uses it" if user else "a problem needs it"
            where = _CLOSED if part.zone is Zone.CLOSED else _SCRIPT
            where = (_MAGIC if exported_cell(part.node) else where).format(uses)
            message = f"`{name}` is defined only {where}"
            self._damage("not_graded", {name}, place=part.place, message=message)
        del self._module.damaged[MAX_DAMAGED:]

    def _damage(self, kind: str, names: Collection[str], *, place: str, message: str) -> None:
        missing = set(names)
        for needs in self._lost:  # in their order: what needs this, then what needs that
            missing |= needs if missing & needs else set()
        if kind != "import":  # its statement is there, and binds nothing
            missing -= self._selection.known
        self._module.damaged.append(
            Damaged(kind=kind, names=tuple(sorted(missing)), place=place, message=message)
        )


def _first(statement: ast.stmt) -> int:
    """Return the first line of a statement, its decorators included."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(one.lineno for one in decorators)])


def _stays(decision: Decision) -> bool:
    return decision.fate in (Fate.KEPT, Fate.TAKEN) or bool(decision.replacement)


def _apply(lines: Sequence[str], edits: Sequence[_Edit]) -> tuple[list[str], set[int]]:
    """Return the lines after the edits, and the indices of lines that are empty now.

    Other statements on the line of an edited one (`import a; plot()`) stay as they are: `pass`
    takes the place of a removed statement there.
    """
    raw = [line.encode() for line in lines]
    gone: set[int] = set()
    for node, new in reversed(edits):  # from the end, so that columns before it still hold
        first, last = _first(node) - 1, (node.end_lineno or node.lineno) - 1
        while first > 0 and raw[first - 1].strip() == b"\\":  # it joins a line to nothing
            first -= 1
        before = raw[first][: node.col_offset] if raw[first].strip() != b"\\" else b""
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
