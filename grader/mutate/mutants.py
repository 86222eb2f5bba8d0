"""`Mutant`: a file of a right submission with one change, under a name that edits elsewhere keep.

Takes: the files of a submission and the names that problems call. Gives: mutants of all that these
names reach. Does not cover: which cases play them (`playing`).

Left as they are: texts of messages, annotations, docstrings, imports, and block sizes, warps and
pipeline stages, which decide about speed alone.
"""

import ast
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from grader.intake.submission import SourceFile
from grader.mutate.edits import Edit, Operator, Source
from grader.mutate.expressions import expression_edits
from grader.mutate.reach import reached, users_of
from grader.mutate.statements import statement_edits

MODULE = "module"
"""In place of a function's name: a statement at the top of a file."""
_TUNING = ("BLOCK", "num_warps", "num_stages", "device", "strict", "input_precision")
"""Beginnings of names whose values decide about speed alone, or mean nothing on a CPU."""
_SILENT_METHODS = frozenset({"__repr__", "__str__"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mutant.

    Attributes:
        name: file, function, operator and the line before and after the change.
        file: name of the changed file within the submission.
        function: dotted name of the function or class in the file, or `MODULE`.
        line: number of the line in which the change begins.
        before: the changed lines as they were; `after` as they are.
        text: the whole changed file.
        where: lines by file; a case that runs one of them runs the change.
        shown: name of the submission's entry, as reports have it.
    """

    name: str
    file: str
    function: str
    operator: Operator
    line: int
    before: str
    after: str
    text: str
    where: Mapping[str, frozenset[int]]
    shown: str

    @property
    def number(self) -> int:
        """A number of its own, by which samples are drawn."""
        return int.from_bytes(hashlib.blake2b(self.name.encode(), digest_size=8).digest(), "big")

    def is_of(self, functions: Iterable[str]) -> bool:
        """Return whether it lies in one of these ("file: function"), or in what they hold."""
        return any(self.name.startswith((f"{one}: ", f"{one}.")) for one in functions)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the walk is.

    Attributes:
        function: dotted name, or `MODULE`.
        span: first and last line of what runs the statement; (0, 0) for a module's.
        at_import: whether a statement here runs once, when the file is imported.
    """

    function: str
    span: tuple[int, int]
    at_import: bool


def make_mutants(
    files: Sequence[SourceFile], exports: Iterable[str], *, shown: str
) -> tuple[Mutant, ...]:
    """Return every mutant of what a submission's exported names reach.

    Args:
        files: the submission, its entry first.
        exports: names that problems call.
        shown: name of the entry in names of mutants, such as "solution.py".

    Raises:
        SyntaxError: if a file is not Python.
    """
    needed = reached(files, exports)
    users = users_of(files)
    found: list[Mutant] = []
    for file in files:
        name = shown if file is files[0] else file.name
        source, texts, names = Source(file.text), {file.text}, Counter[str]()
        for definition in needed[file.name]:
            place = _Place(function=MODULE, span=(0, 0), at_import=True)
            for edit, here in _in_block([definition.node], place, source):
                text = source.apply(edit)
                if text in texts:
                    continue
                texts.add(text)
                first, last = here.span
                lines = {file.name: frozenset(range(first, last + 1))}
                where = lines if first else users(definition.names)
                made = _mutant(edit, here, source, file=file.name, shown=name)
                names[made.name] += 1
                number = f" #{names[made.name]}" if names[made.name] > 1 else ""
                found.append(
                    replace(made, name=made.name + number, text=text, where=where, shown=shown)
                )
    return tuple(found)


def _mutant(edit: Edit, place: _Place, source: Source, *, file: str, shown: str) -> Mutant:
    before, after = source.lines(edit)
    return Mutant(
        name=f"{shown}: {place.function}: {edit.operator}: {before} -> {after}",
        file=file,
        function=place.function,
        operator=edit.operator,
        line=source.line_number(edit),
        before=before,
        after=after,
        text="",
        where={},
        shown=shown,
    )


def _in_block(
    block: Sequence[ast.stmt], place: _Place, source: Source
) -> Iterator[tuple[Edit, _Place]]:
    for index, node in enumerate(block):
        if _is_silent(node):
            continue
        here = _inside(node, place)
        for edit in statement_edits(node, block[index + 1 :], source):
            # Nobody sees the state of an object whose constructor raises.
            if edit.operator is not Operator.STATE or not here.function.endswith("__init__"):
                yield edit, here
        for part in _expressions(node):
            for edit in _in_expression(part, source):
                yield edit, here
        for inner in _blocks(node):
            yield from _in_block(inner, here, source)


def _is_silent(node: ast.stmt) -> bool:
    """Return whether nothing in a statement can be observed in a reply."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Pass() | ast.Global():
            return True
        case ast.Expr(value=ast.Constant()) | ast.AnnAssign(value=None):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.FunctionDef(name=name, decorator_list=decorators):
            overload = any(isinstance(d, ast.Name) and d.id == "overload" for d in decorators)
            return name in _SILENT_METHODS or overload
        case _:
            return False


def _inside(node: ast.stmt, place: _Place) -> _Place:
    """Return the place of a statement's own expressions."""
    match node:
        case ast.FunctionDef(name=name, body=body) | ast.ClassDef(name=name, body=body):
            outer = "" if place.function == MODULE else f"{place.function}."
            span = (body[0].lineno, body[-1].end_lineno or body[-1].lineno)
            at_import = isinstance(node, ast.ClassDef)
            return _Place(function=outer + name, span=span, at_import=at_import)
        case _ if place.at_import:
            return place
        case ast.If() | ast.While() | ast.For() | ast.With() | ast.Try():
            # Of a compound statement only the lines before its block.
            last = max((part.end_lineno or 0 for part in _expressions(node)), default=node.lineno)
            return replace(place, span=(node.lineno, last))
        case _:
            return replace(place, span=(node.lineno, node.end_lineno or node.lineno))


def _expressions(node: ast.stmt) -> Iterator[ast.expr]:
    """Yield the expressions of a statement's own, annotations and messages left out."""
    match node:
        case ast.FunctionDef(args=arguments):
            yield from (one for one in [*arguments.defaults, *arguments.kw_defaults] if one)
        case ast.ClassDef() | ast.Raise():
            return
        case ast.AnnAssign(value=value) if value is not None:
            yield value
        case ast.With(items=items):
            yield from (item.context_expr for item in items)
        case _:
            yield from (one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr))


def _blocks(node: ast.stmt) -> Iterator[Sequence[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        inner = getattr(node, name, [])
        if inner and isinstance(inner, list):
            yield inner
    for handler in getattr(node, "handlers", []):
        yield handler.body


def _in_expression(node: ast.AST, source: Source) -> Iterator[Edit]:
    """Yield the edits of an expression and its parts."""
    if _stays(node):
        return
    if isinstance(node, ast.expr):
        yield from expression_edits(node, source)
    parts: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        parts = [value for key, value in pairs if not _is_tuning(key)]
    for part in parts:
        if isinstance(part, ast.expr | ast.comprehension | ast.keyword):
            yield from _in_expression(part, source)


def _stays(node: ast.AST) -> bool:
    """Return whether an expression and all its parts are left as they are."""
    match node:
        case ast.Constant(value=str(text)):
            return text not in ("inf", "-inf")
        case ast.JoinedStr():
            return True
        case ast.keyword(arg=str(name)):
            return name.startswith(_TUNING)
        case ast.Call(func=ast.Attribute(attr="arange", value=ast.Name(id="tl"))):
            return True  # the interpreter takes a whole block and nothing else
        case _:
            return False


def _is_tuning(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and str(key.value).startswith(_TUNING)
