"""Which names a module made from a notebook has, and which expressions its top level may hold."""

import ast
import builtins
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

MODULE_NAMES = frozenset({"__name__", "__file__", "__doc__", "__spec__", "__package__"})

# Calls that only make a constant, a type or a wrapper, by the last part of their name.
PLAIN_CALLS = frozenset(
    """
    int float bool str bytes frozenset set tuple list dict range slice object min max abs len round
    TypeVar ParamSpec TypeVarTuple NewType namedtuple NamedTuple TypedDict getLogger partial
    sqrt log log2 exp ceil floor device finfo iinfo constexpr Config jit compile is_available
    """.split()
)

_MACHINE_MODULES = frozenset({"os", "sys"})

_PLAIN_NODES = (
    ast.Tuple,
    ast.List,
    ast.Set,
    ast.Dict,
    ast.UnaryOp,
    ast.BinOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
    ast.Attribute,
    ast.Subscript,
    ast.Slice,
    ast.Starred,
    ast.keyword,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.expr_context,
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True, kw_only=True)
class Scope:
    """The names of the module so far.

    Attributes:
        known: names that its statements have bound.
        defined: those of them that are classes and functions of the student's own.
        has_star: whether something was imported with `*`, so that any name may be known.
        lazy_annotations: whether annotations are never evaluated.
    """

    known: set[str] = field(default_factory=lambda: set(dir(builtins)) | MODULE_NAMES)
    defined: set[str] = field(default_factory=set)
    has_star: bool = False
    lazy_annotations: bool = False

    def fork(self) -> "Scope":
        """Return a copy, for a block that may yet be dropped."""
        return replace(self, known=set(self.known), defined=set(self.defined))

    def is_plain(self, expression: ast.expr) -> bool:
        """Return whether an expression is a constant, or made of constants and known names."""
        waiting: list[ast.AST] = [expression]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Constant | ast.Name):
                if isinstance(node, ast.Name) and not self._knows(node.id):
                    return False
            elif isinstance(node, ast.Lambda):
                waiting += [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
            elif isinstance(node, ast.Call):
                if _last_part(node.func) not in PLAIN_CALLS:
                    return False
                waiting += ast.iter_child_nodes(node)
            elif isinstance(node, _PLAIN_NODES) and not _is_risky(node):
                waiting += ast.iter_child_nodes(node)
            else:
                return False
        return True

    def missing_names(self, definition: _Function | ast.ClassDef) -> tuple[str, ...]:
        """Return names that a definition needs when it is reached, and that nothing has bound."""
        needed = _needed(definition, frozenset(), lazy=self.lazy_annotations)
        return tuple(dict.fromkeys(name for name in needed if not self._knows(name)))

    def bind_assigned(self, node: ast.AST) -> None:
        """Remember every name that a target or statement binds, bodies of functions left out."""
        self.known.update(_stored(node))

    def _knows(self, name: str) -> bool:
        return self.has_star or name in self.known


def _is_risky(node: ast.AST) -> bool:
    """Return whether a plain expression may well fail when the module is loaded."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.FloorDiv | ast.Mod):
        return isinstance(node.right, ast.Constant) and node.right.value == 0
    if isinstance(node, ast.Subscript):  # type aliases; not `os.environ["HOME"]`, `[1, 2][5]`
        root: ast.expr = node.value
        while isinstance(root, ast.Attribute):
            root = root.value
        return not isinstance(root, ast.Name) or root.id in _MACHINE_MODULES
    return False


def _last_part(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


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
            if isinstance(part, ast.ExceptHandler) and part.name:
                yield part.name
            waiting += ast.iter_child_nodes(part)
