"""The mutation operators for calls: what a call of this field is often written without, or instead.

Takes: a call. Gives: edits. Does not cover: the arguments as expressions of their own.
"""

import ast
from collections.abc import Iterator, Mapping

from grader.mutate.edits import Edit, Operator, Source

_LIBRARIES = frozenset("torch tl math triton F np numpy functional libdevice".split())
"""Names before a function's: what follows in parentheses is the operand, not what stands before."""

_LEFT_OUT: Mapping[str, Operator] = {
    **dict.fromkeys(("clone", "contiguous", "detach", "copy", "deepcopy"), Operator.COPY),
    **dict.fromkeys(("clamp", "clip", "clamp_min", "clamp_max", "clamp_"), Operator.CLAMP),
    **dict.fromkeys(("masked_fill", "masked_fill_", "nan_to_num", "tril", "triu"), Operator.MASK),
    **dict.fromkeys(("float", "double", "half", "to", "type"), Operator.DTYPE),
    **dict.fromkeys(("transpose", "permute", "trans", "t"), Operator.STRIDE),
    **dict.fromkeys(("flip", "sort"), Operator.ORDER),
    **dict.fromkeys(("repeat_interleave", "expand"), Operator.HEAD),
    **dict.fromkeys(("round", "abs", "sqrt", "rsqrt", "exp", "log", "floor"), Operator.ARITHMETIC),
}
"""Methods and functions that can be left out, so that their operand stays."""

_BUILT_IN: Mapping[str, tuple[str, Operator]] = {
    **dict.fromkeys(("list", "tuple", "dict", "set"), ("{}", Operator.COPY)),
    **dict.fromkeys(("sorted", "reversed"), ("list({})", Operator.ORDER)),
    **dict.fromkeys(("float", "int"), ("{}", Operator.DTYPE)),
    "abs": ("{}", Operator.ARITHMETIC),
}

_RENAMED: Mapping[str, tuple[str, Operator]] = {
    "add_": ("copy_", Operator.ACCUMULATION),
    "popleft": ("pop", Operator.ORDER),
    "appendleft": ("append", Operator.ORDER),
    "all": ("any", Operator.CONDITION),
    "any": ("all", Operator.CONDITION),
    "zeros": ("ones", Operator.CONSTANT),
    "ones": ("zeros", Operator.CONSTANT),
    "zeros_like": ("ones_like", Operator.CONSTANT),
    "ones_like": ("zeros_like", Operator.CONSTANT),
    "floor": ("ceil", Operator.ARITHMETIC),
    "ceil": ("floor", Operator.ARITHMETIC),
    "exp2": ("exp", Operator.ARITHMETIC),
    "log2": ("log", Operator.ARITHMETIC),
    "sum": ("mean", Operator.AXIS),
    "mean": ("sum", Operator.AXIS),
    "reshape": ("view", Operator.STRIDE),
    "tril": ("triu", Operator.MASK),
    "triu": ("tril", Operator.MASK),
    "repeat_interleave": ("repeat", Operator.HEAD),
    **{
        old: (new, Operator.CLAMP)
        for pair in (
            ("max", "min"),
            ("amax", "amin"),
            ("maximum", "minimum"),
            ("argmax", "argmin"),
        )
        for old, new in (pair, pair[::-1])
    },
}
_DROPPED_KEYWORDS: Mapping[str, Operator] = {
    "dtype": Operator.DTYPE,
    "other": Operator.MASK,
    "min": Operator.CLAMP,
    "max": Operator.CLAMP,
    "rounding_mode": Operator.ARITHMETIC,
    "reverse": Operator.ORDER,
    "descending": Operator.ORDER,
    "keepdim": Operator.AXIS,
    "dim": Operator.AXIS,
    "key": Operator.ORDER,
    "alpha": Operator.ARITHMETIC,
}


def name_of(call: ast.Call) -> str:
    """Return the last part of the name that is called: `b` of `a.b(...)`; empty if it has none."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def call_edits(node: ast.Call, source: Source) -> Iterator[Edit]:
    """Yield the edits of one call, without those of its arguments."""
    name = name_of(node)
    plain = isinstance(node.func, ast.Name)
    yield from _left_out(node, source)
    if name in _RENAMED and not (plain and name in ("sum", "zeros", "ones")):
        new, operator = _RENAMED[name]
        end = source.end(node.func)
        yield Edit(operator=operator, start=end - len(name), end=end, text=new)
    yield from _keywords(node, source)
    yield from _strides(node, source)
    yield from _operands(node, source)
    if not plain:
        yield from _of_collections(node, source)


def _operands(node: ast.Call, source: Source) -> Iterator[Edit]:
    """Yield edits that take one of several operands, or change the bounds of a range."""
    match name_of(node), node.args:
        case "where", [_, first, second]:
            yield source.replace(node, source.operand(first), Operator.MASK)
            yield source.replace(node, source.operand(second), Operator.MASK)
        case "min" | "max" | "minimum" | "maximum", [first, second]:
            yield source.replace(node, source.operand(first), Operator.CLAMP)
            yield source.replace(node, source.operand(second), Operator.CLAMP)
        case "dot", [_, second, third]:
            start, end = source.end(second), source.end(third)
            yield Edit(operator=Operator.ACCUMULATION, start=start, end=end, text="")
        case "cdiv", [first, second]:
            text = f"({source.operand(first)} // {source.operand(second)})"
            yield source.replace(node, text, Operator.RANGE)
        case "range" | "arange", [*arguments] if not _is_of(node, "tl"):
            yield from _range(arguments, source)


def _of_collections(node: ast.Call, source: Source) -> Iterator[Edit]:
    """Yield edits that use the other end of a list, or another default of a dictionary."""
    match name_of(node), node.args:
        case "append", [only]:
            yield _renamed_with(node, f"insert(0, {source.text(only)})", Operator.ORDER, source)
        case "pop", []:
            yield _renamed_with(node, "pop(0)", Operator.ORDER, source)
        case "pop", [ast.Constant(value=0)]:
            yield _renamed_with(node, "pop()", Operator.ORDER, source)
        case "get", [key, default]:
            yield _renamed_with(node, f"get({source.text(key)})", Operator.DEFAULT, source)
            text = f"({source.text(node.func)}({source.text(key)}) or {source.operand(default)})"
            yield source.replace(node, text, Operator.DEFAULT)


def _is_of(call: ast.Call, library: str) -> bool:
    match call.func:
        case ast.Attribute(value=ast.Name(id=name)):
            return name == library
        case _:
            return False


def _renamed_with(call: ast.Call, text: str, operator: Operator, source: Source) -> Edit:
    """Return the edit that gives a method another name and other arguments."""
    start = source.end(call.func) - len(name_of(call))
    return Edit(operator=operator, start=start, end=source.end(call), text=text)


def _left_out(node: ast.Call, source: Source) -> Iterator[Edit]:
    """Yield the edit that leaves only the operand of a call."""
    name = name_of(node)
    match node.func:
        case ast.Name() if name in _BUILT_IN and len(node.args) == 1:
            form, operator = _BUILT_IN[name]
            yield source.replace(node, form.format(source.operand(node.args[0])), operator)
        case ast.Attribute(value=ast.Name(id=library)) if library in _LIBRARIES:
            if name in _LEFT_OUT and node.args and not isinstance(node.args[0], ast.Starred):
                yield source.replace(node, source.operand(node.args[0]), _LEFT_OUT[name])
        case ast.Attribute(value=operand) if name in _LEFT_OUT:
            yield source.replace(node, source.operand(operand), _LEFT_OUT[name])


def _keywords(node: ast.Call, source: Source) -> Iterator[Edit]:
    parts = [*node.args, *(keyword.value for keyword in node.keywords)]
    for number, keyword in enumerate(node.keywords, len(node.args)):
        if keyword.arg and keyword.arg in _DROPPED_KEYWORDS and number:
            start, end = source.end(parts[number - 1]), source.end(keyword.value)
            operator = _DROPPED_KEYWORDS[keyword.arg]
            yield Edit(operator=operator, start=start, end=end, text="")
        if keyword.arg == "mask" and number:
            # Without a mask there is nothing that `other` could stand for.
            last = parts[-1] if node.keywords[-1].arg == "other" else keyword.value
            start, end = source.end(parts[number - 1]), source.end(last)
            yield Edit(operator=Operator.MASK, start=start, end=end, text="")


def _range(arguments: list[ast.expr], source: Source) -> Iterator[Edit]:
    """Bounds that are constants are changed as constants."""
    bounds = [a for a in arguments[:2] if not isinstance(a, ast.Constant | ast.Starred)]
    for bound in bounds:
        for step in ("+ 1", "- 1"):
            yield source.replace(bound, f"{source.operand(bound)} {step}", Operator.RANGE)


def _is_stride(argument: ast.expr) -> bool:
    match argument:
        case ast.Name(id=name):
            return name.startswith("stride")
        case ast.Call():
            return name_of(argument) == "stride"
        case ast.Starred(value=value):
            return _is_stride(value)
        case _:
            return False


def _strides(node: ast.Call, source: Source) -> Iterator[Edit]:
    """Yield edits that take a tensor for contiguous, or two strides for each other."""
    if isinstance(node.func, ast.Attribute) and node.func.attr == "stride":
        start = source.end(node.func) - len("stride")
        yield Edit(operator=Operator.STRIDE, start=start, end=start, text="contiguous().")
    for left, right in zip(node.args, node.args[1:], strict=False):
        if _is_stride(left) and _is_stride(right):
            gap = source.between(source.end(left), source.start(right))
            yield Edit(
                operator=Operator.STRIDE,
                start=source.start(left),
                end=source.end(right),
                text=source.text(right) + gap + source.text(left),
            )
