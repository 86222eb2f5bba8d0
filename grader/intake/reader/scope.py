"""The names that a statement at top level binds, reads and changes, and those that a module has.

`is_outside(module, allowed)` says whether graded code may import a module; all ask it.
"""

import ast
import builtins
import symtable
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

MODULE_NAMES = frozenset({"__name__", "__file__", "__doc__", "__spec__", "__package__"})

ALWAYS_ALLOWED = frozenset({"torch", "numpy", "triton", "typing_extensions", "harness"})
"""`runner.loading.OFFERED` and the harness: the reader can import nothing of the package."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_COMPOUND = (*_LOOPS, ast.If, ast.Match, ast.With, ast.AsyncWith, ast.Try, ast.TryStar)
_MAIN_TESTS = frozenset({"__name__ == '__main__'", "'__main__' == __name__"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names of the module that one statement at top level has to do with.

    Attributes:
        binds: names that it defines, assigns or imports.
        uses: names that it reads, now or when a function that it defines is called.
        now: names that it reads when it runs itself.
        changes: objects that it changes: `x[0] = 1`, `A.f = f`, `setattr(A, "f", f)`.
        calls: objects whose methods it calls, which may change them: `table.update(...)`.
        makes: names that a function in it declares `global` and assigns when it is called.
    """

    binds: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    now: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()
    makes: frozenset[str] = frozenset()


def names_of(
    statement: ast.stmt, lines: Sequence[str] = (), *, lazy_annotations: bool = False
) -> Names:
    """Return the names of one statement; none from below `__name__ == "__main__"`: it never runs.

    Its source `lines` spare writing it anew, if it does not share them with others.
    """
    statement, whole = _imported(statement), statement
    lines = lines if statement is whole else ()
    changes, calls = _changed(statement)
    try:
        text = "\n".join(lines) if lines else ast.unparse(statement)
        binds, uses, makes = _resolve(text, lazy_annotations)
        now = frozenset(_read_now(statement, lazy_annotations))
    except (RecursionError, MemoryError, SyntaxError, ValueError):  # read what can be read
        binds = frozenset(_stored(statement))
        uses = now = frozenset(n.id for n in ast.walk(statement) if isinstance(n, ast.Name))
        makes = frozenset()
    return Names(binds=binds, uses=uses, now=now, changes=changes, calls=calls, makes=makes)


def _is_main_guard(statement: ast.stmt) -> TypeGuard[ast.If]:
    """Return whether a statement is `if __name__ == "__main__":`, whose block importing skips."""
    if not isinstance(statement, ast.If):
        return False
    one = statement.test
    tests = one.values if isinstance(one, ast.BoolOp) and isinstance(one.op, ast.And) else [one]
    return not _MAIN_TESTS.isdisjoint(map(ast.unparse, tests))


def script_names(statement: ast.stmt) -> frozenset[str]:
    """Return the names that a statement defines only in a file that is run, or in a notebook."""
    if _is_main_guard(statement):
        return frozenset(_stored(ast.Module(statement.body, [])))
    try:
        return frozenset(_stored(ast.parse(exported_cell(statement))))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()


def exported_cell(statement: ast.stmt) -> str:
    """Return the code of a cell with a `%%magic`, as exporting a notebook writes it; else nothing.

    Such as `get_ipython().run_cell_magic('time', '', 'def f(): ...')`.
    """
    match statement:
        case ast.Expr(
            value=ast.Call(
                func=ast.Attribute(attr="run_cell_magic"),
                args=[ast.Constant(), ast.Constant(), ast.Constant(value=str(body))],
            )
        ):
            return body
    return ""


def _imported(statement: ast.stmt) -> ast.stmt:
    """Return what importing a statement runs."""
    if not _is_main_guard(statement):
        return statement
    return ast.If(test=ast.Constant(True), body=statement.orelse or [ast.Pass()], orelse=[])


def _resolve(text: str, lazy: bool) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return the names that a statement binds and reads, and those that its functions make.

    By Python's own analysis of scopes.
    """
    text = f"from __future__ import annotations\n{text}" if lazy else text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        top = symtable.symtable(text, "<cell>", "exec")
    symbols = [s for s in top.get_symbols() if not (lazy and s.get_name() == "annotations")]
    binds = {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}
    uses = {s.get_name() for s in symbols if s.is_referenced()}
    makes: set[str] = set()
    waiting = list(top.get_children())
    while waiting:
        table = waiting.pop()
        uses |= {s.get_name() for s in table.get_symbols() if s.is_global()}
        makes |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_assigned()}
        waiting += table.get_children()
    return frozenset(binds), frozenset(uses), frozenset(makes)


def _read_now(statement: ast.stmt, lazy: bool) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return set(_needed(statement, frozenset(), lazy=lazy))
    read: set[str] = set()
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            read.update(_needed(node, frozenset(), lazy=lazy))
        elif isinstance(node, ast.AnnAssign) and lazy:
            waiting += [node.target, *([node.value] if node.value else [])]
        elif isinstance(node, ast.expr):
            read.update(_loaded([node], frozenset()))
        else:
            waiting += ast.iter_child_nodes(node)
    return read - set(_stored(statement)) if isinstance(statement, _COMPOUND) else read


def _changed(statement: ast.stmt) -> tuple[frozenset[str], frozenset[str]]:
    """Return the objects that a statement changes, and those that it calls a method of."""
    changes: set[str] = set()
    calls: set[str] = set()
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Lambda():
                continue
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                given = [c for d in node.decorator_list if isinstance(d, ast.Call) for c in d.args]
                changes.update(c.id for c in given if isinstance(c, ast.Name))
                calls |= {_root(d) for d in node.decorator_list if isinstance(d, ast.Attribute)}
                continue
            case (
                ast.Attribute(ctx=ast.Store() | ast.Del())
                | ast.Subscript(ctx=ast.Store() | ast.Del())
            ):
                changes.add(_root(node))
            case ast.Call(func=ast.Name(id="setattr"), args=[ast.Name(id=changed), *_]):
                changes.add(changed)
            case ast.Expr(value=ast.Call(func=ast.Attribute() as method)):
                calls.add(_root(method))
            case ast.AugAssign(target=ast.Name(id=changed)):
                changes.add(changed)
        waiting += ast.iter_child_nodes(node)
    return frozenset(changes - {""}), frozenset(calls - {""})


def _root(node: ast.expr) -> str:
    """Return `x` for `x.a[0].b`; empty if there is no name at its root."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


@dataclass(slots=True, kw_only=True)
class Scope:
    """The names of the module so far.

    Attributes:
        known: names that its statements have bound.
        has_star: whether something was imported with `*`, so that any name may be known.
        lazy_annotations: whether annotations are never evaluated.
    """

    known: set[str] = field(default_factory=lambda: set(dir(builtins)) | MODULE_NAMES)
    has_star: bool = False
    lazy_annotations: bool = False

    def missing_names(self, statement: ast.stmt) -> tuple[str, ...]:
        """Return names that a statement needs when it is reached, and that nothing has bound."""
        if self.has_star:
            return ()
        needed = _read_now(_imported(statement), self.lazy_annotations)
        return tuple(sorted(needed - self.known))

    def bind(self, statement: ast.stmt) -> None:
        """Remember the names of a statement that is in the module."""
        if is_type_checking(statement):
            return  # never runs
        statement = _imported(statement)
        self.has_star = self.has_star or is_star(statement)
        if not isinstance(statement, ast.AnnAssign) or statement.value is not None:
            self.known.update(_stored(statement))


def is_type_checking(statement: ast.stmt) -> bool:
    """Return whether a statement is `if TYPE_CHECKING:`, which only type checkers run."""
    if not isinstance(statement, ast.If):
        return False
    test = statement.test
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def is_star(statement: ast.stmt) -> bool:
    """Return whether a statement is `from x import *`."""
    return isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*"


def is_future_import(statement: ast.stmt) -> bool:
    """Return whether a statement is `from __future__ import ...`."""
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def imported_module(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    """Return the module that one name of an import comes from; empty for `from . import x`."""
    if isinstance(statement, ast.Import):
        return alias.name
    return "" if statement.level else statement.module or ""


def is_outside(module: str, allowed: Collection[str]) -> bool:
    """Return whether graded code may not import a module, such as `google.colab`.

    `allowed` are top-level modules, those of the student's own files included.
    """
    top = module.partition(".")[0]
    if top == "grader":  # the students' tool, which no sandbox has
        return True
    return top not in ALWAYS_ALLOWED and top not in sys.stdlib_module_names and top not in allowed


def _needed(
    definition: _Function | ast.ClassDef, local: frozenset[str], *, lazy: bool
) -> Iterator[str]:
    """Yield the names that decorators, defaults, annotations, bases and class bodies load."""
    own = local | {p.name for p in getattr(definition, "type_params", ())}
    yield from _loaded(definition.decorator_list, local)
    if isinstance(definition, ast.ClassDef):
        bases = [*definition.bases, *(keyword.value for keyword in definition.keywords)]
        yield from _loaded(bases, own)
        yield from _needed_in_body(definition, own, lazy=lazy)
        return
    arguments = definition.args
    yield from _loaded([*arguments.defaults, *(d for d in arguments.kw_defaults if d)], local)
    if not lazy:
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [a for a in (arguments.vararg, arguments.kwarg) if a]
        annotations = [a.annotation for a in every if a.annotation]
        yield from _loaded(
            [*annotations, *([definition.returns] if definition.returns else [])], own
        )


def _needed_in_body(
    definition: ast.ClassDef, outer: frozenset[str], *, lazy: bool
) -> Iterator[str]:
    local = set(outer)
    for statement in definition.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _needed(statement, frozenset(local), lazy=lazy)
        elif isinstance(statement, ast.Assign):
            yield from _loaded([statement.value], frozenset(local))
        elif isinstance(statement, ast.AnnAssign):
            parts = [statement.value] if statement.value else []
            parts += [] if lazy else [statement.annotation]
            yield from _loaded(parts, frozenset(local))
        local.update(_stored(statement))


def _loaded(expressions: Iterable[ast.expr], local: frozenset[str]) -> Iterator[str]:
    """Yield names that are read when the expressions are evaluated; lambda bodies are not."""
    for expression in expressions:
        bound = set(_stored(expression)) | local
        waiting: list[ast.AST] = [expression]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Lambda):
                waiting += [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
            elif isinstance(node, ast.Name):
                if node.id not in bound:
                    yield node.id
            else:
                waiting += ast.iter_child_nodes(node)


def _stored(node: ast.AST) -> Iterator[str]:
    """Yield names bound at the level of `node`, into blocks but not into functions and classes."""
    waiting: list[ast.AST] = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield part.name
        elif isinstance(part, ast.Import | ast.ImportFrom):
            for alias in part.names:
                yield alias.asname or alias.name.split(".")[0]
        elif isinstance(part, ast.Name):
            if isinstance(part.ctx, ast.Store):
                yield part.id
        elif not isinstance(part, ast.Lambda):
            if isinstance(part, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and part.name:
                yield part.name
            elif isinstance(part, ast.MatchMapping) and part.rest:
                yield part.rest
            waiting += ast.iter_child_nodes(part)
