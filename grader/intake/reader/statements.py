"""Which top-level statements of an untagged notebook are kept for themselves.

Kept are imports, functions and classes, assignments of constants and of plain expressions of known
names, and `if` and `try` blocks of nothing else. A definition that needs a name which was not kept
is left out: it would fail. What is kept because graded code needs it is decided in `selection`.
"""

import ast
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .scope import Scope, is_main_guard

ALWAYS_ALLOWED = frozenset({"torch", "numpy", "triton", "harness"})

_IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError", "Exception"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Whether a statement is kept.

    Attributes:
        needs: names because of which a definition is left out.
        is_silent: whether it is left out without a notice.
    """

    kept: bool
    needs: tuple[str, ...] = ()
    is_silent: bool = False


KEEP = Choice(kept=True)
DROP = Choice(kept=False)


def is_outside(module: str, allowed: Collection[str]) -> bool:
    """Return whether graded code may not import a module, such as `google.colab`.

    `allowed` are top-level modules, those of the student's own files included.
    """
    top = module.partition(".")[0]
    if top == "grader":  # the students' tool, which no sandbox has
        return True
    return top not in ALWAYS_ALLOWED and top not in sys.stdlib_module_names and top not in allowed


def imported_module(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    """Return the module that one name of an import comes from; empty for `from . import x`."""
    if isinstance(statement, ast.Import):
        return alias.name
    return "" if statement.level else statement.module or ""


def choose(statement: ast.stmt, scope: Scope) -> Choice:
    """Decide on one statement; names of a kept one are known from then on."""
    try:
        choice = _decide(statement, scope)
    except RecursionError:  # hundreds of `elif`: the rest of the notebook still counts
        return DROP
    if choice.kept:
        bind(statement, scope)
    return choice


def is_future_import(statement: ast.stmt) -> bool:
    """Return whether a statement is `from __future__ import ...`."""
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _decide(statement: ast.stmt, scope: Scope) -> Choice:
    match statement:
        case ast.Import() | ast.ImportFrom():
            return DROP if _is_outside(statement, scope) else KEEP
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            missing = scope.missing_names(statement)
            if not missing:
                return KEEP
            return Choice(kept=False, needs=missing)
        case ast.Assign():
            good = all(_is_target(t, scope) for t in statement.targets)
            return KEEP if good and scope.is_plain(statement.value) else DROP
        case ast.AnnAssign():
            return KEEP if _is_plain_annotated(statement, scope) else DROP
        case ast.If():
            return _decide_if(statement, scope)
        case ast.Try():
            return _decide_try(statement, scope)
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return Choice(kept=False, is_silent=True)
        case _:  # `type X = ...` is a node of its own from Python 3.12 on
            return KEEP if type(statement).__name__ == "TypeAlias" else DROP


def _is_outside(statement: ast.Import | ast.ImportFrom, scope: Scope) -> bool:
    modules = (imported_module(statement, alias) for alias in statement.names)
    return any(module and is_outside(module, scope.allowed) for module in modules)


def _is_target(target: ast.expr, scope: Scope) -> bool:
    match target:
        case ast.Name():
            return True
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return all(isinstance(element, ast.Name) for element in elements)
        case ast.Attribute(value=ast.Name(id=owner)):  # a method added to a class in a later cell
            return owner in scope.defined
        case _:
            return False


def _is_plain_annotated(statement: ast.AnnAssign, scope: Scope) -> bool:
    return (
        isinstance(statement.target, ast.Name)
        and (scope.lazy_annotations or scope.is_plain(statement.annotation))
        and (statement.value is None or scope.is_plain(statement.value))
    )


def _decide_if(statement: ast.If, scope: Scope) -> Choice:
    if _is_type_checking(statement.test):
        imports = ast.Import | ast.ImportFrom | ast.Pass
        block = (*statement.body, *statement.orelse)
        return KEEP if all(isinstance(part, imports) for part in block) else DROP
    if not scope.is_plain(statement.test) or is_main_guard(statement.test):
        return DROP
    return KEEP if _all_included((statement.body, statement.orelse), scope) else DROP


def _decide_try(statement: ast.Try, scope: Scope) -> Choice:
    """Keep `try: import ... except ImportError`; its handler counts only if it would run."""
    if statement.finalbody or not any(_catches_import(h) for h in statement.handlers):
        return DROP
    imports = [s for s in statement.body if isinstance(s, ast.Import | ast.ImportFrom)]
    others = [s for s in statement.body if s not in imports]
    trial = scope.fork()
    for part in imports:
        trial.bind_assigned(part)
    blocks = [others, statement.orelse]
    if not imports or any(_is_outside(s, scope) for s in imports):
        blocks += [[s for s in h.body if not _is_print(s)] for h in statement.handlers]
    return KEEP if _all_included(blocks, trial) else DROP


def _all_included(blocks: Sequence[Sequence[ast.stmt]], scope: Scope) -> bool:
    trial = scope.fork()
    for block in blocks:
        for statement in block:
            choice = choose(statement, trial)
            if not (choice.kept or choice.is_silent):
                return False
    return True


def _is_print(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Name(id="print"))):
            return True
    return False


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _catches_import(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in _IMPORT_ERRORS) for kind in kinds
    )


def bind(statement: ast.stmt, scope: Scope) -> None:
    """Remember the names of a statement that is in the module."""
    if isinstance(statement, ast.If) and _is_type_checking(statement.test):
        return  # never runs
    if isinstance(statement, ast.ImportFrom) and any(a.name == "*" for a in statement.names):
        scope.has_star = True
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        scope.defined.add(statement.name)
    if isinstance(statement, ast.AnnAssign) and statement.value is None:
        return
    scope.bind_assigned(statement)
