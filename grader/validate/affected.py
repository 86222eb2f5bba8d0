"""Which problems a wrong submission can change: only they need be run to know what it fails.

Takes: the solution's source, the text appended to it, what problems export. Gives: `affected`. Does
not cover: a submission that stands alone (it affects every problem).

Read from the code, never run. Whatever cannot be followed (a statement that is no definition, a
name looked up by its text) counts as a change of everything: then every problem is run.
"""

import ast
from collections.abc import Iterable, Mapping

_BY_TEXT = frozenset("globals vars exec eval __import__ sys gc inspect".split())
"""Names that lead to other names of a module without naming them."""


def affected(base: str, appended: str, exports: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Return the problems that behave otherwise when a text follows the solution's.

    Args:
        base: the solution's source.
        appended: what comes after it.
        exports: names of the submission that a problem calls, by problem.
    """
    everything = frozenset(exports)
    before, after = ast.parse(base).body, ast.parse(appended).body
    if not all(_is_definition(node) for node in after):
        return everything
    uses: dict[str, set[str]] = {}
    for node in (*before, *after):
        used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        if used & _BY_TEXT:
            return everything
        for name in _bound(node):
            uses.setdefault(name, set()).update(used)
    changed = {name for node in after for name in _bound(node)}
    return frozenset(
        problem for problem, names in exports.items() if _reached(names, uses) & changed
    )


def _is_definition(node: ast.stmt) -> bool:
    """Return whether a statement does no more than to bind names of the module."""
    match node:
        case ast.FunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant()):
            return True  # a docstring
        case ast.Assign(targets=targets):
            return all(isinstance(target, ast.Name) for target in targets)
        case ast.AnnAssign(target=ast.Name()):
            return True
        case _:
            return False


def _bound(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds, whatever it is made of."""
    match node:
        case ast.FunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Import() | ast.ImportFrom():
            return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            parts = ast.walk(node)
            return {p.id for p in parts if isinstance(p, ast.Name) and isinstance(p.ctx, ast.Store)}
        case ast.Expr():
            return set()
        case _:
            inner = (part for part in ast.walk(node) if isinstance(part, ast.stmt))
            return set().union(*(_bound(part) for part in inner if _is_definition(part)))


def _reached(names: Iterable[str], uses: Mapping[str, set[str]]) -> set[str]:
    """Return the names, and all that they use in turn."""
    reached: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += uses.get(name, ())
    return reached
