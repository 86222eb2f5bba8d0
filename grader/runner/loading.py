"""Loads a submission statement by statement, so that a fault in one costs only what needs it.

The worker in the sandbox and the commands on a student's machine load with `Loading`, so that both
see the same. A statement at the top of a module that raises is noted and the next one runs. The
submission's own import statements reach only what is offered where work is graded; what torch or
another module imports is not looked at. `grader`, which a student's own check may import, does
nothing.

This is no boundary: a submission can undo all of it, and then fails as it would without.
"""

import __future__

import ast
import builtins
import dis
import functools
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

OFFERED = ("torch", "numpy", "triton", "typing_extensions")
"""Modules beside the standard library that every submission may import."""
ANY_IMPORT = ("*",)
"""In place of a list of modules: nothing is refused."""
STAR = "*"
"""Among the names of a failure: those that `from module import *` would have bound."""
MAX_FAILURES = 20
MAX_NAMES = 100

_TOOL = "grader"
_WATCHED = "asks_for_submissions"
_OWN = ("harness", __package__.partition(".")[0])
_FUTURE = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
_LOADS = ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS")
_STORES = ("STORE_NAME", "STORE_GLOBAL")

Value = Any  # whatever a submission's modules hold
Json = Any  # what `describe` makes of an exception


def is_offered(module: str, allowed: Sequence[str]) -> bool:
    """Return whether a submission may import a top-level module; `allowed` is the assignment's."""
    return (
        module in sys.stdlib_module_names
        or module in (*OFFERED, *_OWN, *allowed)
        or ANY_IMPORT[0] in allowed
    )


def explain_absent(module: str, allowed: Sequence[str]) -> str:
    """Return the text of the error for a module that is not offered."""
    further = [
        n for n in allowed if n not in sys.stdlib_module_names and n not in (*OFFERED, *_OWN)
    ]
    offered = ", ".join((*OFFERED[:-1], *further))
    return (
        f"No module named {module!r} where work is graded; there are Python's standard library, "
        f"{offered}"
    )


@dataclass(slots=True, kw_only=True)
class Failure:
    """A statement that raised.

    Attributes:
        names: that it would have bound, and those that later statements needed them for.
        raised: the exception, as `describe` gives it.
    """

    names: list[str]
    raised: Json


@dataclass(slots=True, kw_only=True)
class Loading:
    """One load of one submission.

    Attributes:
        home: folder with the submission's files.
        describe: makes of an exception what is kept of it; the exception holds tensors alive.
        allowed: the assignment's `allowed_imports`, or `ANY_IMPORT`.
        only: run only the statements of the entry that these names need; all if empty.
        failures: the statements that raised, in the order in which they ran.
    """

    home: str
    describe: Callable[[BaseException], Json]
    allowed: Sequence[str] = ANY_IMPORT
    only: Sequence[str] = ()
    failures: list[Failure] = field(default_factory=list)
    entry: str = ""

    def run(self, entry: str) -> dict[str, Value]:
        """Import the module `entry` and return its names; its file is all of `sys.argv`.

        Raises:
            SyntaxError: if it is not Python; then none of it runs.
        """
        self.entry = entry
        sys.argv[:] = [str(Path(self.home) / f"{entry}.py")]
        self._watch(importlib, "import_module", "import_module")
        self._watch(importlib.util, "find_spec", "_find_named")
        sys.path_hooks.insert(0, self._find_in)
        sys.path_importer_cache.pop(self.home, None)
        sys.path.insert(0, self.home)
        return vars(importlib.import_module(entry))

    def import_module(self, name: str, *rest: Value, **named: Value) -> Value:
        """Import for the submission, as `builtins.__import__` does.

        Raises:
            ModuleNotFoundError: if it is not offered where work is graded.
        """
        level = rest[3] if len(rest) > 3 else named.get("level", 0)
        top = name.partition(".")[0]
        if level:
            return self._import_beside(name, level, rest)
        if top == _TOOL:
            return _Inert()
        if not self._is_there(top):
            raise ModuleNotFoundError(explain_absent(top, self.allowed), name=top)
        return builtins.__import__(name, *rest, **named)

    def _import_beside(self, name: str, level: int, rest: Sequence[Value]) -> Value:
        """Import relatively: files that are graded beside one another are no package."""
        scope, local, names = (*rest, None, None, None)[:3]
        if (scope or {}).get("__package__"):
            return builtins.__import__(name, scope, local, names, level)
        wanted = [name.partition(".")[0]] if name else [*(names or ())]
        for absent in (one for one in wanted if not self._is_own(one)):
            raise ModuleNotFoundError(
                f"No file {absent}.py was handed in beside this one; hand it in, too, or copy what "
                "you need of it",
                name=absent,
            )
        if name:
            return builtins.__import__(name, scope, local, names, 0)
        return SimpleNamespace(**{one: importlib.import_module(one) for one in wanted})

    @staticmethod
    def _watch(module: ModuleType, watched: str, instead: str) -> None:
        """Let a submission's own calls of a function of `importlib` see what is offered to it.

        Once in a process, which may load several submissions, as tests do.
        """
        function = vars(module)[watched]
        if hasattr(function, _WATCHED):
            return

        @functools.wraps(function)
        def ask(name: str, package: str | None = None) -> Value:
            own = sys._getframe(1).f_globals.get("__builtins__")
            importing = own.get("__import__") if isinstance(own, dict) else None
            loading = getattr(importing, "__self__", None)
            top = name.partition(".")[0]
            if (
                isinstance(loading, Loading)
                and top
                and (top == _TOOL or not loading._is_there(top))
            ):
                return getattr(loading, instead)(top)
            return function(name, package)

        setattr(ask, _WATCHED, True)
        vars(module)[watched] = ask

    def _find_named(self, top: str) -> None:
        """Find nothing, as where work is graded."""

    def _is_there(self, top: str) -> bool:
        return is_offered(top, self.allowed) or self._is_own(top)

    def note(self, error: BaseException, statement: ast.stmt, missing: list[str]) -> None:
        """Remember a statement that raised, or count its names to the failure that caused it."""
        causes: set[str] = set()
        if isinstance(error, NameError):
            causes = {error.name or ""}
        elif isinstance(error, ImportError) and isinstance(statement, ast.ImportFrom):
            causes = {alias.name for alias in statement.names}
        for failure in self.failures:
            if causes & {*failure.names}:
                failure.names = list(dict.fromkeys((*failure.names, *missing)))[:MAX_NAMES]
                return
        if len(self.failures) < MAX_FAILURES:
            raised = self.describe(error)
            self.failures.append(Failure(names=missing[:MAX_NAMES], raised=raised))

    def _find_in(self, folder: str) -> FileFinder:
        """Return the finder of the submission's modules; a hook of Python's import system."""
        if folder != self.home:
            raise ImportError
        loader: Any = functools.partial(_StatementLoader, self)
        return FileFinder(folder, (loader, [".py"]))

    def _is_own(self, top: str) -> bool:
        return (Path(self.home) / f"{top}.py").is_file() or (Path(self.home) / top).is_dir()


class _StatementLoader(SourceFileLoader):
    """Runs the statements of one of the submission's modules one by one."""

    def __init__(self, loading: Loading, name: str, path: str) -> None:
        super().__init__(name, path)
        self._loading = loading
        self._now: tuple[CodeType, ...] = ()

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the statement that is to run now, or the whole module."""
        return self._now[0] if self._now else super().get_code(fullname)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module in its namespace; go on after a statement that raises."""
        # Only the module's own functions and statements look here for `__import__`.
        own = {**vars(builtins), "__import__": self._loading.import_module}
        vars(module)["__builtins__"] = own
        try:
            compiled = compile_statements(self.get_data(self.path), self.path)
        except RecursionError:  # of `ast`, which is stricter than Python's own compiler
            super().exec_module(module)
            return
        if self._loading.only and module.__name__ == self._loading.entry:
            compiled = select(compiled, self._loading.only)
        for statement, code in compiled:
            self._now = (code,)
            try:
                super().exec_module(module)
            except KeyboardInterrupt:  # whoever runs this at home has pressed it
                raise
            except BaseException as error:  # noqa: BLE001 - a submission may raise anything
                missing = [name for name in stored_names(code) if name not in vars(module)]
                if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
                    missing.append(STAR)
                self._loading.note(error, statement, missing)
        self._now = ()


Compiled = tuple[ast.stmt, CodeType]


def compile_statements(source: bytes, path: str) -> list[Compiled]:
    """Return the statements at the top of a module, each with its code; lines are the file's.

    Raises:
        SyntaxError, ValueError: as for the whole module, which is compiled first.
    """
    tree = ast.parse(source, filename=path)
    whole = compile(tree, path, "exec", dont_inherit=True)
    flags = whole.co_flags & _FUTURE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the whole module has given them already
        return [
            (one, compile(ast.Module([one], []), path, "exec", flags=flags, dont_inherit=True))
            for one in _separate(tree.body)
        ]


def _separate(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements; one for each module of `import a, b`, and no text but the docstring."""
    for number, one in enumerate(body):
        if isinstance(one, ast.Import):
            yield from (ast.copy_location(ast.Import([alias]), one) for alias in one.names)
        elif not number or not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)):
            yield one


def stored_names(code: CodeType) -> list[str]:
    """Return the names that a statement binds at the top of its module."""
    found = (one.argval for one in dis.get_instructions(code) if one.opname in _STORES)
    return list(dict.fromkeys(found))


def loaded_names(code: CodeType) -> set[str]:
    """Return the names of its module that a statement or a function in it may read."""
    found = {one.argval for one in dis.get_instructions(code) if one.opname in _LOADS}
    inner = (one for one in code.co_consts if isinstance(one, CodeType))
    return found.union(*(loaded_names(one) for one in inner))


def select(compiled: Sequence[Compiled], names: Sequence[str]) -> list[Compiled]:
    """Return the statements that bind or complete `names`, and all that these need in turn."""
    makers: dict[str, list[int]] = {}
    chosen: set[int] = set()
    for number, (statement, code) in enumerate(compiled):
        for name in (*stored_names(code), *_completed(statement)):
            makers.setdefault(name, []).append(number)
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            chosen.add(number)
    waiting, known = list(names), set(names)
    while waiting:
        for number in {*makers.get(waiting.pop(), ())} - chosen:
            chosen.add(number)
            new = loaded_names(compiled[number][1]) - known
            known |= new
            waiting += new
    return [compiled[number] for number in sorted(chosen)]


def _completed(statement: ast.stmt) -> Iterator[str]:
    """Yield the names whose object a statement adds to, as `Cache.append = append` does."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AugAssign | ast.AnnAssign):
        targets = [statement.target]
    for target in targets:
        root = target
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        if isinstance(root, ast.Name):
            yield root.id


class _Inert:
    """Stands for `grader` and all that is in it: whatever is called or read does nothing."""

    def __call__(self, *_: Value, **__: Value) -> "_Inert":
        return self

    def __getattr__(self, name: str) -> "_Inert":
        if name.startswith("__"):
            raise AttributeError(name)
        return self
