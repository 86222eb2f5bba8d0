"""The mutation operators for statements: what is left out, or moved.

Takes: a statement and those that follow it. Gives: edits. Does not cover: expressions inside.
"""

import ast
import re
from collections.abc import Iterator, Sequence

from grader.mutate.calls import name_of
from grader.mutate.edits import Edit, Operator, Source

_REFUSES = re.compile(r"_?(require|check|validate|refuse|ensure|expect|verify)")
_SYNCHRONISES = frozenset(
    "barrier wait synchronize all_reduce all_gather reduce_scatter broadcast debug_barrier".split()
)
_KEPT_DECORATORS = frozenset(
    "property staticmethod classmethod jit dataclass setter overload abstractmethod".split()
)
_OTHER_ERROR = {"ValueError": "RuntimeError"}
_AUGMENTED = {ast.Add: ("+=", "-="), ast.Sub: ("-=", "+="), ast.Mult: ("*=", "/=")}


def statement_edits(
    node: ast.stmt, following: Sequence[ast.stmt], source: Source
) -> Iterator[Edit]:
    """Yield the edits of one statement, without those of its parts.

    Args:
        node: the statement.
        following: statements behind it in the same block.
        source: the module.
    """
    yield from _of_blocks(node, source)
    yield from _left_out(node, source)
    yield from _moved(node, following, source)


def _of_blocks(node: ast.stmt, source: Source) -> Iterator[Edit]:
    """Yield the edits of a statement's condition, context or decorators."""
    match node:
        case ast.If(test=test, body=[ast.Raise()], orelse=[]):
            yield source.replace(test, "False", Operator.REFUSAL)
        case ast.If(test=test):
            yield source.replace(test, "True", Operator.CONDITION)
            yield source.replace(test, "False", Operator.CONDITION)
        case ast.While(test=test):
            yield source.replace(test, "False", Operator.CONDITION)
        case ast.With(items=[ast.withitem(context_expr=context, optional_vars=None)]):
            start, end = source.start(node), source.end(context)
            yield Edit(operator=Operator.STATEMENT, start=start, end=end, text="if True")
        case ast.FunctionDef() | ast.ClassDef():
            yield from _decorators(node, source)


def _left_out(node: ast.stmt, source: Source) -> Iterator[Edit]:
    """Yield the edits that leave a statement out, or a part that gives it its meaning."""
    match node:
        case ast.Raise(exc=ast.Call(func=ast.Name(id=name) as error)):
            other = _OTHER_ERROR.get(name, "ValueError")
            yield source.replace(error, other, Operator.REFUSAL)
            yield source.replace(node, "pass", Operator.REFUSAL)
        case ast.Expr(value=ast.Call() as call):
            yield source.replace(node, "pass", _dropped(call))
        case ast.Delete() | ast.Break() | ast.Continue() | ast.Return(value=None):
            yield source.replace(node, "pass", Operator.STATEMENT)
        case ast.Assign() | ast.AugAssign():
            yield from _assignment(node, source)


def _dropped(call: ast.Call) -> Operator:
    name = name_of(call)
    if _REFUSES.match(name):
        return Operator.REFUSAL
    return Operator.SYNCHRONISATION if name in _SYNCHRONISES else Operator.STATEMENT


def _assignment(node: ast.Assign | ast.AugAssign, source: Source) -> Iterator[Edit]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    used = {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}
    # Without a local name's first value nothing works; without its next value something may.
    if isinstance(node, ast.AugAssign) or not names or names & used:
        yield source.replace(node, "pass", Operator.STATEMENT)
    if not isinstance(node, ast.AugAssign):
        return
    start, end = source.end(node.target), source.start(node.value)
    gap = source.between(start, end)
    plain = re.sub(r"(\*\*|//|<<|>>|[-+*/%@&|^])=", "=", gap, count=1)
    yield Edit(operator=Operator.ACCUMULATION, start=start, end=end, text=plain)
    if type(node.op) in _AUGMENTED:
        old, new = _AUGMENTED[type(node.op)]
        yield Edit(operator=Operator.SIGN, start=start, end=end, text=gap.replace(old, new))


def _decorators(node: ast.FunctionDef | ast.ClassDef, source: Source) -> Iterator[Edit]:
    for decorator in node.decorator_list:
        names = {part.id for part in ast.walk(decorator) if isinstance(part, ast.Name)}
        names |= {part.attr for part in ast.walk(decorator) if isinstance(part, ast.Attribute)}
        if not names & _KEPT_DECORATORS:
            start, end = source.start(decorator) - len("@"), source.end(decorator)
            yield Edit(operator=Operator.STATEMENT, start=start, end=end, text="")


def refuses(node: ast.stmt) -> bool:
    """Return whether a statement only looks, and raises if it does not like what it sees."""
    match node:
        case ast.Expr(value=ast.Call() as call):
            return bool(_REFUSES.match(name_of(call)))
        case ast.If(body=body, orelse=[]):
            return isinstance(body[-1], ast.Raise) and len(body) == 1
        case ast.For(body=body, orelse=[]):
            return all(map(refuses, body))
        case _:
            return False


def _changed(node: ast.stmt) -> set[str]:
    """Return the names of the objects that a statement changes: `self` of `self.keys[0] = k`."""
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            return set().union(*map(_root, targets))
        case ast.AugAssign(target=target):
            return _root(target)
        case ast.Expr(value=ast.Call(func=ast.Attribute() as method) as call):
            return set() if _REFUSES.match(name_of(call)) else _root(method)
        case ast.For(body=body):
            return set().union(*map(_changed, body))
        case _:
            return set()


def _root(target: ast.expr) -> set[str]:
    """Return the name at the beginning of `a.b[c]`; none for a name by itself."""
    if isinstance(target, ast.Tuple):
        return set().union(*map(_root, target.elts))
    if not isinstance(target, ast.Attribute | ast.Subscript):
        return set()
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return {target.id} if isinstance(target, ast.Name) else set()


def _moved(node: ast.stmt, following: Sequence[ast.stmt], source: Source) -> Iterator[Edit]:
    """Yield the edit that refuses only after the state has changed.

    State is what outlives the call, so not what the statements between have made.
    """
    if not refuses(node):
        return
    made: set[str] = set()
    for changed in following:
        if _changed(changed) - made:
            break
        made |= {
            part.id
            for part in ast.walk(changed)
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
        }
    else:
        return
    between = source.between(source.end(node), source.end(changed))
    if ";" in between or node.lineno == changed.lineno:
        return
    text = f"pass{between}\n{' ' * node.col_offset}{source.text(node)}"
    start, end = source.start(node), source.end(changed)
    yield Edit(operator=Operator.STATE, start=start, end=end, text=text)
