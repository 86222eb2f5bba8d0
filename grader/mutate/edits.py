"""`Edit`: one change of a source text, and `Source`, which finds where syntax nodes stand in it.

Takes: the text of a module. Gives: replacements by position, so that all that is not changed stays
as its author wrote it. Does not cover: which changes are made (`expressions`, `statements`).
"""

import ast
from dataclasses import dataclass
from enum import StrEnum


class Operator(StrEnum):
    """What a mutant gets wrong, in the words of the field."""

    BOUND = "bound off by one"
    RANGE = "range or slice"
    MASK = "mask"
    ARITHMETIC = "arithmetic"
    COPY = "copy left out"
    CLAMP = "clamp, min, max"
    REFUSAL = "refusal"
    ACCUMULATION = "accumulation"
    SYNCHRONISATION = "synchronisation"
    STRIDE = "strides"
    DEFAULT = "default value"
    DTYPE = "dtype"
    AXIS = "axis"
    HEAD = "head mapping"
    ORDER = "order"
    STATE = "state before check"
    SIGN = "sign"
    CONSTANT = "constant"
    CONDITION = "condition"
    STATEMENT = "statement left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A replacement in a source text.

    Attributes:
        start: byte of the UTF-8 text at which it begins; `end` is the first byte after it.
        text: what stands there instead.
    """

    operator: Operator
    start: int
    end: int
    text: str


class Source:
    """A module's text, in which nodes of its syntax tree are found by their position."""

    def __init__(self, text: str) -> None:
        self._bytes = text.encode()
        self._starts = [0]
        for line in self._bytes.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def start(self, node: ast.expr | ast.stmt) -> int:
        """Return the first byte of a node."""
        return self._starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt) -> int:
        """Return the first byte after a node."""
        return self._starts[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)

    def text(self, node: ast.expr | ast.stmt) -> str:
        """Return the text of a node."""
        return self.between(self.start(node), self.end(node))

    def operand(self, node: ast.expr) -> str:
        """Return the text of an expression, in parentheses if it could fall apart elsewhere."""
        text = self.text(node)
        whole = ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.Constant
        return text if isinstance(node, whole) else f"({text})"

    def between(self, start: int, end: int) -> str:
        """Return the text from one byte up to another."""
        return self._bytes[start:end].decode()

    def replace(self, node: ast.expr | ast.stmt, text: str, operator: Operator) -> Edit:
        """Return the edit that puts a text in the place of a node."""
        return Edit(operator=operator, start=self.start(node), end=self.end(node), text=text)

    def lines(self, edit: Edit) -> tuple[str, str]:
        """Return the lines that an edit touches, before and after it, whitespace folded."""
        first = max(start for start in self._starts if start <= edit.start)
        last = min(start for start in self._starts if start >= edit.end)
        before = self.between(first, last)
        after = self.between(first, edit.start) + edit.text + self.between(edit.end, last)
        return " ".join(before.split()), " ".join(after.split())

    def line_number(self, edit: Edit) -> int:
        """Return the number of the line in which an edit begins, from 1."""
        return sum(start <= edit.start for start in self._starts)

    def apply(self, edit: Edit) -> str:
        """Return the whole text with an edit carried out."""
        return (self._bytes[: edit.start] + edit.text.encode() + self._bytes[edit.end :]).decode()
