"""Lets Triton's interpreter read a kernel as Triton's compiler does.

`install` changes the interpreter of this process. Then

* a kernel may use every name that it may use on a device: what is imported from `triton.language`
  by its own name, functions of libdevice, variables of the function around it;
* `and`, `or`, `not`, `min` and `max` act on each entry of a block, where Python would ask for the
  truth of the whole block;
* the variable of a loop and a float argument are tensors, as on a device: `i.to(tl.int64)` works,
  and numbers are 32 bits wide;
* `triton.language` is changed once and not again for each call of each function, which took most
  of the time of small kernels.
"""

import ast
import builtins
import functools
import inspect
import operator
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import triton.language as tl
from triton.language import core
from triton.language.extra import libdevice
from triton.language.extra.cuda import libdevice as cuda_libdevice
from triton.runtime import interpreter

Value = Any  # of a kernel: a tensor, a constant or a number of Python
Operand = Callable[[], Value]  # not computed yet
Helper = Callable[..., Value]  # of a rewritten kernel

_FREE = ("fn",)  # what Triton's own wrapper holds


def install() -> None:
    """Change the interpreter of this process; it must be the first change."""
    semantic = interpreter.interpreter_semantic
    core.interpreter_semantic = semantic
    _call_without_semantic()
    _find_libdevice()
    _change_language_once()
    tl.tensor.reduce, tl.tensor.associative_scan = tl.reduce, tl.associative_scan
    for helper in (every, some, opposite, counted, smallest, largest):
        vars(interpreter)[_name(helper)] = helper
    interpreter.FunctionRewriter._transform_ast = _read
    interpreter.FunctionRewriter._compile_and_exec = _define
    convert = interpreter._implicit_cvt
    interpreter._implicit_cvt = lambda arg: _number(arg) if type(arg) is float else convert(arg)


def _call_without_semantic() -> None:
    """Let Triton's own functions find the interpreter by themselves.

    They are changed in place. A submission may have imported one by its own name already.
    """

    def around(fn: Callable[..., Value]) -> Callable[..., Value]:
        def wrapper(*args: Value, **kwargs: Value) -> Value:
            if kwargs.get("_semantic") is None:
                kwargs["_semantic"] = interpreter_semantic  # type: ignore[name-defined]  # noqa: F821 - it runs in `core`
            return fn(*args, **kwargs)

        return wrapper

    code = around(print).__code__
    for owner in (core, core.tensor, core.tensor_descriptor_base, tl, tl.math, cuda_libdevice):
        for _, function in inspect.getmembers(owner, core.is_builtin):
            inner = function
            while inner.__code__.co_freevars == _FREE and inner.__globals__ is vars(core):
                if "_semantic" in inner.__code__.co_consts:
                    inner.__code__ = code
                inner = inner.__closure__[0].cell_contents
                if not core.is_builtin(inner):
                    break


def _find_libdevice() -> None:
    """Let the functions of `triton.language.extra.libdevice` be those of CUDA, in place."""
    vars(libdevice)["_of_cuda"] = cuda_libdevice

    def call(*args: Value) -> Value:
        return getattr(_of_cuda, "NAME")(*args)  # type: ignore[name-defined]  # noqa: B009, F821

    for name, function in inspect.getmembers(libdevice, inspect.isfunction):
        if hasattr(cuda_libdevice, name):
            constants = (name if one == "NAME" else one for one in call.__code__.co_consts)
            function.__code__ = call.__code__.replace(co_consts=tuple(constants))


def _change_language_once() -> None:
    scope = interpreter._LangPatchScope()
    interpreter._patch_lang_tensor(core.tensor, scope)
    for language in (tl, core):
        interpreter._patch_lang_core(language, scope)
        language.range = counted
    kept = interpreter._LangPatchScope()  # restores nothing
    interpreter._patch_lang = lambda _: kept


def _number(value: float) -> Value:
    return interpreter.interpreter_semantic.to_tensor(value)


def counted(arg1: Value, arg2: Value = None, step: Value = 1, **_: Value) -> Iterator[Value]:
    """Count as a loop on a device does: the variable is a tensor of 32 or 64 bits."""
    bounds = (0, arg1, step) if arg2 is None else (arg1, arg2, step)
    wide = any(isinstance(one, tl.tensor) and one.dtype.primitive_bitwidth > 32 for one in bounds)
    dtype, store = (tl.int64, np.int64) if wide else (tl.int32, np.int32)
    for number in builtins.range(*map(operator.index, bounds)):
        yield tl.tensor(interpreter.TensorHandle(np.array([number], dtype=store), dtype), dtype)


def _decides(value: Value, stop: bool) -> bool:
    """Return whether a value that is no block ends a chain of `and` or `or`."""
    return not (isinstance(value, tl.tensor) and value.type.is_block()) and bool(value) is stop


def every(*operands: Operand) -> Value:
    """Return `a and b`, for each entry if one of them is a block."""
    return _chain(operands, stop=False, join="logical_and")


def some(*operands: Operand) -> Value:
    """Return `a or b`, for each entry if one of them is a block."""
    return _chain(operands, stop=True, join="logical_or")


def _chain(operands: tuple[Operand, ...], *, stop: bool, join: str) -> Value:
    joined: Value = None
    last: Value = None
    for operand in operands:
        last = operand()
        if _decides(last, stop):
            return last
        if isinstance(last, tl.tensor):
            joined = last if joined is None else getattr(joined, join)(last)
    return last if joined is None else joined


def opposite(value: Value) -> Value:
    """Return `not a`, for each entry of a block."""
    return value.__not__() if isinstance(value, tl.tensor) else not value


def smallest(*values: Value) -> Value:
    """Return `min(a, b)`, for each entry of a block."""
    return _fold(builtins.min, tl.minimum, values)


def largest(*values: Value) -> Value:
    """Return `max(a, b)`, for each entry of a block."""
    return _fold(builtins.max, tl.maximum, values)


def _fold(of_python: Helper, of_triton: Helper, values: tuple[Value, ...]) -> Value:
    if any(isinstance(one, tl.tensor) for one in values):
        return functools.reduce(of_triton, values)
    return of_python(*(getattr(one, "value", one) for one in values))


def _name(helper: Helper) -> str:
    """Return the name of a helper in a rewritten kernel."""
    return f"_{helper.__name__}_"


_OF_PYTHON: dict[str, Helper] = {"min": smallest, "max": largest, "range": counted}
"""What stands for functions of Python."""


def _read(rewriter: Value, source: str) -> ast.AST:
    """Return a kernel's rewritten text; its line numbers are those of the file."""
    function = rewriter.fn
    own = {*function.__globals__, *function.__code__.co_freevars, *function.__code__.co_varnames}
    tree: ast.AST = _Reader({*_OF_PYTHON} - own).visit(ast.parse(source))
    ast.fix_missing_locations(tree)
    return ast.increment_lineno(tree, rewriter.def_file_lineno - 1)


class _Reader(interpreter.ASTTransformer):  # type: ignore[misc]
    """Rewrites a kernel so that Python runs it as Triton's compiler would read it.

    `of_python` are the names of Python's functions to which the kernel gives no other meaning.
    """

    def __init__(self, of_python: set[str]) -> None:
        self._of_python = of_python

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # noqa: N802 - of `ast`
        """Leave defaults and annotations out: `_define` keeps those that Python has computed."""
        node.args.defaults = []
        node.args.kw_defaults = [None] * len(node.args.kwonlyargs)
        for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            one.annotation = None
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:  # noqa: N802 - of `ast`
        """Replace `a and b` by a call with operands that are not computed yet."""
        self.generic_visit(node)
        helper: Helper = every if isinstance(node.op, ast.And) else some
        nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        return self._call(helper, [ast.Lambda(nothing, one) for one in node.values], node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:  # noqa: N802 - of `ast`
        """Replace `not a`."""
        self.generic_visit(node)
        if not isinstance(node.op, ast.Not):
            return node
        return self._call(opposite, [node.operand], node)

    def visit_Call(self, node: ast.Call) -> ast.AST:  # noqa: N802 - of `ast`
        """Replace Python's `min`, `max` and `range`."""
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in self._of_python:
            node.func.id = _name(_OF_PYTHON[node.func.id])
        return node

    def _call(self, helper: Helper, operands: list[Any], node: ast.expr) -> ast.AST:
        call = ast.Call(ast.Name(_name(helper), ast.Load()), operands, [])
        return ast.copy_location(call, node)


def _define(rewriter: Value, tree: ast.Module) -> Callable[..., Value]:
    """Define a rewritten function where its names are: its module, and the function around it."""
    function = rewriter.fn
    scope = function.__globals__
    for name, value in vars(interpreter).items():
        scope.setdefault(name, value)
    around = inspect.getclosurevars(function).nonlocals
    module = compile(tree, filename=rewriter.filename, mode="exec")
    (code,) = (one for one in module.co_consts if isinstance(one, CodeType))
    scope = {**scope, **around} if around else scope
    defined = FunctionType(code, scope, function.__name__, function.__defaults__)
    defined.__kwdefaults__ = function.__kwdefaults__
    defined.__annotations__ = function.__annotations__
    return defined
