"""The mutation operators for expressions: each yields the edits that it can make of one node.

Takes: a syntax node. Gives: edits. Does not cover: calls (`calls`), statements (`statements`).
"""

import ast
from collections.abc import Iterator, Mapping
from itertools import pairwise

from grader.mutate.calls import call_edits, name_of
from grader.mutate.edits import Edit, Operator, Source

_COMPARED: Mapping[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}
_SWAPPED: Mapping[type[ast.operator], tuple[str, str, Operator]] = {
    ast.Add: ("+", "-", Operator.SIGN),
    ast.Sub: ("-", "+", Operator.SIGN),
    ast.Mult: ("*", "/", Operator.ARITHMETIC),
    ast.Div: ("/", "*", Operator.ARITHMETIC),
    ast.FloorDiv: ("//", "%", Operator.HEAD),
    ast.Mod: ("%", "//", Operator.HEAD),
    ast.BitAnd: ("&", "|", Operator.MASK),
    ast.BitOr: ("|", "&", Operator.MASK),
}
_DTYPES = {
    "float32": "float16",
    "float64": "float32",
    "double": "float32",
    "bfloat16": "float16",
    "float16": "bfloat16",
    "int64": "int32",
    "long": "int32",
    "int32": "int16",
}
_LIBRARIES = ("torch", "tl")


def expression_edits(node: ast.expr, source: Source) -> Iterator[Edit]:
    """Yield the edits of one expression, without those of its parts."""
    match node:
        case ast.Compare():
            yield from _compare(node, source)
        case ast.BinOp():
            yield from _arithmetic(node, source)
        case ast.UnaryOp():
            yield from _unary(node, source)
        case ast.BoolOp():
            yield from _boolean(node, source)
        case ast.IfExp():
            yield from _choice(node, source)
        case ast.Constant():
            yield from _constant(node, source)
        case ast.Attribute():
            yield from _attribute(node, source)
        case ast.Slice():
            yield from _slice(node, source)
        case ast.Call():
            yield from call_edits(node, source)


def _between(
    left: ast.expr, right: ast.expr, tokens: tuple[str, str], operator: Operator, source: Source
) -> Iterator[Edit]:
    """Yield the edit that changes the token between two operands."""
    start, end = source.end(left), source.start(right)
    gap = source.between(start, end)
    old, new = tokens
    if gap.count(old) == 1:  # else a comment between them has it as well
        yield Edit(operator=operator, start=start, end=end, text=gap.replace(old, new))


def _compare(node: ast.Compare, source: Source) -> Iterator[Edit]:
    operands = [node.left, *node.comparators]
    for left, kind, right in zip(operands, node.ops, operands[1:], strict=False):
        ordered = isinstance(kind, ast.Lt | ast.LtE | ast.Gt | ast.GtE)
        operator = Operator.BOUND if ordered else Operator.CONDITION
        yield from _between(left, right, _COMPARED[type(kind)], operator, source)
    match node:
        case ast.Compare(ops=[ast.Is()], comparators=[ast.Constant(value=None)]):
            yield source.replace(node, f"(not {source.operand(node.left)})", Operator.DEFAULT)
    if len(node.ops) > 1:  # a <= b < c: one of the two left out
        for left, right in pairwise(operands):
            text = source.between(source.start(left), source.end(right))
            yield source.replace(node, f"({text})", Operator.BOUND)


def _arithmetic(node: ast.BinOp, source: Source) -> Iterator[Edit]:
    if isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
        return
    if type(node.op) in _SWAPPED:
        old, new, operator = _SWAPPED[type(node.op)]
        yield from _between(node.left, node.right, (old, new), operator, source)
    operator = Operator.MASK if isinstance(node.op, ast.BitAnd | ast.BitOr) else Operator.ARITHMETIC
    yield source.replace(node, source.operand(node.left), operator)
    if isinstance(node.op, ast.Add | ast.Mult | ast.BitAnd | ast.BitOr | ast.Sub):
        yield source.replace(node, source.operand(node.right), operator)
    if isinstance(node.op, ast.FloorDiv):
        left, right = source.operand(node.left), source.operand(node.right)
        # Not -(-a // b): Triton divides towards zero.
        yield source.replace(node, f"(({left} + {right} - 1) // {right})", Operator.RANGE)


def _unary(node: ast.UnaryOp, source: Source) -> Iterator[Edit]:
    operator = {
        ast.USub: Operator.SIGN,
        ast.Not: Operator.CONDITION,
        ast.Invert: Operator.MASK,
    }.get(type(node.op))
    if operator:
        yield source.replace(node, source.operand(node.operand), operator)


def _boolean(node: ast.BoolOp, source: Source) -> Iterator[Edit]:
    operands = [source.operand(value) for value in node.values]
    word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    yield source.replace(node, f"({f' {other} '.join(operands)})", Operator.CONDITION)
    for index in range(len(operands)):
        left = [*operands[:index], *operands[index + 1 :]]
        yield source.replace(node, f"({f' {word} '.join(left)})", Operator.CONDITION)
    if word == "or" and len(operands) == 2 and _may_be_none(node.values[0]):
        first, second = operands
        text = f"({first} if {first} is not None else {second})"
        yield source.replace(node, text, Operator.DEFAULT)


def _may_be_none(node: ast.expr) -> bool:
    """Return whether an operand of `or` may be a value with a default, and not a condition."""
    if isinstance(node, ast.Call):
        return name_of(node) not in ("bool", "isinstance", "any", "all")
    return isinstance(node, ast.Name | ast.Attribute | ast.Subscript)


def _choice(node: ast.IfExp, source: Source) -> Iterator[Edit]:
    body, orelse = source.operand(node.body), source.operand(node.orelse)
    match node.test:
        case ast.Compare(left=left, ops=[ast.IsNot() | ast.Is() as op], comparators=[none]) if (
            isinstance(none, ast.Constant) and none.value is None
        ):
            first, default = (body, orelse) if isinstance(op, ast.IsNot) else (orelse, body)
            text = f"({first} if {source.operand(left)} else {default})"
            yield source.replace(node, text, Operator.DEFAULT)
    yield source.replace(node, body, Operator.CONDITION)
    yield source.replace(node, orelse, Operator.CONDITION)


def _constant(node: ast.Constant, source: Source) -> Iterator[Edit]:
    match node.value:
        case bool():
            yield source.replace(node, str(not node.value), Operator.CONSTANT)
        case int():
            yield source.replace(node, str(node.value + 1), Operator.CONSTANT)
            if node.value > 0:
                yield source.replace(node, str(node.value - 1), Operator.CONSTANT)
        case float():
            other = 1.0 if node.value == 0 else node.value * 2
            yield source.replace(node, repr(other), Operator.CONSTANT)
        case "inf" | "-inf":
            yield source.replace(node, repr(node.value.replace("inf", "1e4")), Operator.MASK)


def _attribute(node: ast.Attribute, source: Source) -> Iterator[Edit]:
    if isinstance(node.value, ast.Name) and node.value.id in _LIBRARIES and node.attr in _DTYPES:
        yield source.replace(node, f"{node.value.id}.{_DTYPES[node.attr]}", Operator.DTYPE)
    elif node.attr in ("T", "mT"):
        yield source.replace(node, source.operand(node.value), Operator.STRIDE)
    elif node.attr == "inf":
        yield source.replace(node, "1e4", Operator.MASK)


def _slice(node: ast.Slice, source: Source) -> Iterator[Edit]:
    """Bounds that are constants are changed by `_constant`."""
    for bound, step in ((node.lower, "+"), (node.upper, "-")):
        if bound is None:
            continue
        yield source.replace(bound, "", Operator.RANGE)
        if not isinstance(bound, ast.Constant):
            yield source.replace(bound, f"{source.operand(bound)} {step} 1", Operator.RANGE)
