"""Which problems of an assignment a wrong submission can differ in from the solution.

Takes: the texts of both, and what each problem exports. Gives: names of problems. Does not cover:
whether the difference matters (it is graded).

A wrong submission is the solution with a few lines after it. A problem whose exports reach the same
statements in both behaves the same in both, and the solution is graded anyway: so only the other
problems are graded again. A statement at the top level that is more than a definition of names (an
attribute that is set, a bare call, a loop) may change anything, and then every problem is graded.
"""

import ast
from collections import defaultdict
from collections.abc import Mapping, Sequence


def reached_problems(
    solution: str, specimen: str, exports: Mapping[str, Sequence[str]]
) -> frozenset[str]:
    """Return the problems in which two modules may behave differently.

    Args:
        solution: text of the reference.
        specimen: text of the wrong submission, as it enters the box.
        exports: names that each problem needs.
    """
    try:
        ours, theirs = ast.parse(solution), ast.parse(specimen)
    except SyntaxError:  # its grade says so
        return frozenset(exports)
    if _loose(ours) != _loose(theirs):
        return frozenset(exports)
    before, after = _bindings(ours), _bindings(theirs)
    return frozenset(
        problem
        for problem, names in exports.items()
        if _closure(names, before) != _closure(names, after)
    )


def _bindings(tree: ast.Module) -> dict[str, list[ast.stmt]]:
    """Return the statements at the top level that bind each name, in order."""
    found: dict[str, list[ast.stmt]] = defaultdict(list)
    for node in tree.body:
        for name in _bound(node):
            found[name].append(node)
    return found


def _bound(node: ast.stmt) -> list[str]:
    """Return the names that a statement binds; none if it may do more than bind names."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
        case ast.Assign(targets=targets):
            parts = [e for t in targets for e in (t.elts if isinstance(t, ast.Tuple) else [t])]
            names = [part.id for part in parts if isinstance(part, ast.Name)]
            return names if len(names) == len(parts) else []
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _loose(tree: ast.Module) -> list[str]:
    """Return the statements at the top level that may do anything; a bare constant does nothing."""
    return [
        ast.dump(node)
        for node in tree.body
        if not _bound(node)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


def _closure(names: Sequence[str], bindings: Mapping[str, list[ast.stmt]]) -> dict[str, list[str]]:
    """Return every statement that some names reach, by the name that it binds."""
    reached: dict[str, list[str]] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        statements = bindings.get(name, [])
        reached[name] = [ast.dump(node) for node in statements]
        for statement in statements:
            waiting += [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return reached
