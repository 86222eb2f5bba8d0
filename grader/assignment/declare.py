"""How `cases.py` declares cases and workloads, and how a reference folder's Python is imported.

`case` marks the generator of a check, `workload` the generator of what a target measures;
`load_cases` and `load_workloads` collect them. References are the author's own code and run in
this process; submissions never do.
"""

import ast
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType
from typing import TypeVar

from grader.assignment.draw import PUBLIC_SEED, Draw
from grader.assignment.factors import Factors, Row, Rule, Selection, every_row
from grader.assignment.folders import (
    KERNELS,
    SHARED,
    kernel_folders,
    shared_folders,
    solution_files,
)
from grader.assignment.steps import CaseSteps, Expect, Raises, Step, Value, WorkloadSteps, tap
from grader.errors import AuthorError

CaseFunction = Callable[[Draw], CaseSteps]
RowFunction = Callable[[Draw, Row], CaseSteps]
WorkloadFunction = Callable[[Draw, int], WorkloadSteps]
Key = tuple[str, str]  # problem and check, or problem and target
T = TypeVar("T")
Started = TypeVar("Started", CaseSteps, WorkloadSteps)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseMaker:
    """A case generator and how often it is drawn.

    Attributes:
        problem: name of the problem in `assignment.toml`.
        check: name of the check within that problem.
        public: instances drawn from the public seed (recorded for students).
        hidden: instances drawn from the run's secret seed.
        make: the generator function; its docstring is the text that students read.
    """

    problem: str
    check: str
    public: int
    hidden: int
    make: CaseFunction

    @property
    def code(self) -> CodeType:
        """The function that the author wrote: its file and line."""
        return self.make.__code__

    def __call__(self, draw: Draw) -> CaseSteps:
        """Start one instance of the case."""
        return _generator(self.make, self.make(draw))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMaker(CaseMaker):
    """A case that plays rows of factors: each instance plays its share, one after the other.

    Attributes:
        selection: the rows that the check takes.
        make_row: the generator function, called once per row.
    """

    selection: Selection
    make_row: RowFunction

    @property
    def code(self) -> CodeType:
        """The function that the author wrote: its file and line."""
        return self.make_row.__code__

    def play(self, draw: Draw, played: list[Row]) -> CaseSteps:
        """Start one instance; a row is added to `played` when it begins."""
        public = draw.seed == PUBLIC_SEED
        for row in self.selection.rows(draw, self.public if public else self.hidden):
            played.append(row)
            named: CaseSteps = tap(self.make_row(draw, row), partial(_named, row.label))
            yield from named


def _named(row: str, step: Step) -> Step:
    """Return a step whose label begins with the levels of its row."""
    if isinstance(step, Expect | Raises):
        return replace(step, label=f"{row}: {step.label}")
    return step


def case(
    problem: str,
    check: str,
    *,
    public: int = 1,
    hidden: int = 3,
    factors: Factors | None = None,
    where: Rule | None = None,
) -> Callable[[Callable[..., CaseSteps]], CaseMaker]:
    """Mark a generator function as the case of `problem`'s `check`.

    The function takes a `Draw`; with `factors` also a `Row`, and it is called once per row.

    Args:
        problem: name of the problem.
        check: name of the check.
        public: instances drawn from the public seed, and recorded for students. They must pass
            every dtype and kind of argument that hidden ones pass.
        hidden: instances drawn from the run's secret seed.
        factors: what the case varies. Hidden instances share out the rows that together show
            every allowed combination; public ones show every level at least once.
        where: says of a row whether this check takes it, if several checks share the factors;
            without it, the check takes every row.

    Raises:
        AuthorError: if the factors are another problem's, or some visibility has no instance.
    """

    def mark(function: Callable[..., CaseSteps]) -> CaseMaker:
        plain = CaseMaker(problem=problem, check=check, public=public, hidden=hidden, make=function)
        return plain if factors is None else _row_maker(plain, factors, where or every_row)

    return mark


def _row_maker(plain: CaseMaker, factors: Factors, where: Rule) -> RowMaker:
    """Return the case whose function takes a row, as one that plays its share of rows."""
    if factors.problem != plain.problem or min(plain.public, plain.hidden) < 1:
        raise AuthorError(
            f"cases.py: {plain.problem}.{plain.check}: with factors, expected those of "
            f"{plain.problem} and at least one public and one hidden instance; found those of "
            f"{factors.problem}, public={plain.public}, hidden={plain.hidden}"
        )
    function: RowFunction = plain.make  # type: ignore[assignment]

    def make(draw: Draw) -> CaseSteps:
        return maker.play(draw, [])

    make.__doc__ = function.__doc__
    maker = RowMaker(
        problem=plain.problem,
        check=plain.check,
        public=plain.public,
        hidden=plain.hidden,
        make=make,
        selection=Selection(factors, where),
        make_row=function,
    )
    return maker


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A generator whose cost is measured, for the submission and for the hidden reference.

    Attributes:
        problem: name of the problem in `assignment.toml`.
        target: name of the target within that problem.
        sizes: what `make` is called with, ascending; several only where growth is measured.
        make: the generator function; all of its calls count, and all replies are compared.
    """

    problem: str
    target: str
    sizes: tuple[int, ...]
    make: WorkloadFunction

    def __call__(self, draw: Draw, size: int) -> WorkloadSteps:
        """Start one run of the workload."""
        return _generator(self.make, self.make(draw, size))


def workload(
    problem: str, target: str, *, sizes: Sequence[int]
) -> Callable[[WorkloadFunction], Workload]:
    """Mark a generator function as the workload of `problem`'s `target`.

    The function takes a `Draw` and a size; it yields steps like a case. Everything between its
    first and last step counts, or between `PhaseStart` and `PhaseEnd`.

    Args:
        problem: name of the problem.
        target: name of the target.
        sizes: what the function is called with, ascending; several only where growth is measured.

    Raises:
        AuthorError: if the sizes are not positive and ascending.
    """
    if not sizes or sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
        raise AuthorError(
            f"cases.py: workload {problem}.{target}: sizes: expected whole numbers from 1 on, in "
            f"ascending order, found {sizes!r}"
        )

    def mark(function: WorkloadFunction) -> Workload:
        return Workload(problem=problem, target=target, sizes=tuple(sizes), make=function)

    return mark


def _generator(make: Callable[..., Started], started: Started) -> Started:
    """Return what a marked function gave; raise `AuthorError` if that is no generator."""
    if isinstance(started, Generator):
        return started
    found = f"{make.__name__} returns a {type(started).__name__}, not a generator"
    hint = "let it `yield` each step: `got = yield Call(...)`"
    raise AuthorError(f"{written_at(make.__code__)}: {found}", hint=hint)


def written_at(code: CodeType) -> str:
    """Return file and line of a function."""
    return f"{Path(code.co_filename).name}, line {code.co_firstlineno}"


def load_cases(folder: Path) -> dict[Key, CaseMaker]:
    """Return the cases of `folder/cases.py` by (problem, check).

    Args:
        folder: of the reference.

    Raises:
        AuthorError: if the file cannot be imported, or two cases claim one check.
    """
    return _collect(folder, CaseMaker, lambda one: (one.problem, one.check), "cases for check")


def load_workloads(folder: Path) -> dict[Key, Workload]:
    """Return the workloads of `folder/cases.py` by (problem, target).

    Raises:
        AuthorError: if the file cannot be imported, or two workloads claim one target.
    """
    return _collect(folder, Workload, lambda one: (one.problem, one.target), "workloads for target")


def _collect(folder: Path, kind: type[T], key_of: Callable[[T], Key], what: str) -> dict[Key, T]:
    """Return what is of a kind in `cases.py` and the modules that it lists as `MODULES`."""
    cases = load_folder(folder, "cases")
    modules = (cases, *getattr(cases, "MODULES", ()))
    found: dict[Key, T] = {}
    for one in (value for module in modules for value in vars(module).values()):
        # One object may have several names.
        if isinstance(one, kind) and found.setdefault(key_of(one), one) is not one:
            raise AuthorError(
                f"{folder / 'cases.py'}: two {what} {'.'.join(key_of(one))}",
                hint="each check has one @case and each target one @workload; remove or rename one",
            )
    return found


def load_folder(folder: Path, module: str) -> ModuleType:
    """Import `folder/<module>.py` so that its relative imports reach the files beside it.

    In a reference they also reach the assignment's harness and the shared files.

    Args:
        folder: of the reference.
        module: name of the file, without `.py`.

    Raises:
        AuthorError: if the file is missing or cannot be imported.
    """
    path = folder / f"{module}.py"
    if not path.is_file():
        raise AuthorError(f"{path}: not found", hint="every reference folder needs this file")
    package = "grader_reference_" + re.sub(r"\W", "_", str(folder.resolve()))
    if package not in sys.modules:
        parent = ModuleType(package)
        parent.__path__ = [str(folder), *map(str, shared_folders(folder))]
        sys.modules[package] = parent
    name = f"{package}.{module}"
    return sys.modules[name] if name in sys.modules else _import(name, path)


def load_harness(assignment: Path, name: str = "grader_harness") -> Mapping[str, Value]:
    """Import a folder's harness as module `name`, and return its names; none without a harness.

    Raises:
        AuthorError: if it cannot be imported.
    """
    package = assignment / "harness"
    path, folders = package / "__init__.py", [str(package), str(assignment.parent / SHARED)]
    if not path.is_file():
        path, folders = assignment / "harness.py", []
    if not path.is_file():
        return {}
    for old in [old for old in sys.modules if old.startswith(f"{name}.")]:
        del sys.modules[old]  # a file of another assignment's harness
    return vars(_import(name, path, folders))


def _import(name: str, path: Path, submodules: Sequence[str] = ()) -> ModuleType:
    """Import the file `path` as module `name`, a package if it has folders of submodules.

    Raises:
        AuthorError: if it raises.
    """
    folders = list(submodules) or None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    if spec is None or spec.loader is None:
        raise AuthorError(f"{path}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # triton and dataclasses look a class's module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        message = f"{path}: importing it failed{_line_in(path.parent, error)}"
        raise AuthorError(f"{message}: {type(error).__name__}: {error}") from error
    return module


def _line_in(folder: Path, error: Exception) -> str:
    """Return where in the folder's files an exception came from; empty if in none of them."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame for frame in frames if frame.filename.startswith(str(folder.resolve()))]
    return f" at {Path(lines[-1].filename).name}, line {lines[-1].lineno}" if lines else ""


def load_solution(reference: Path) -> ModuleType:
    """Import `solution.py` of a reference folder; its Triton kernels run interpreted, on the CPU.

    Raises:
        AuthorError: if the file is missing or cannot be imported.
    """
    if any(_imports_triton(file.text) for file in solution_files(reference)):
        import_triton_interpreter()
    with fresh_kernels(reference):
        return load_folder(reference, "solution")


@contextmanager
def fresh_kernels(reference: Path) -> Iterator[None]:
    """Import `kernels` anew inside the `with`: an earlier import may be compiled for a device."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_kernel(name)}
    package = ModuleType(KERNELS)
    package.__path__ = [str(folder) for folder in kernel_folders(reference)]
    sys.modules[KERNELS] = package
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_kernel(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def _is_kernel(name: str) -> bool:
    return name.partition(".")[0] == KERNELS


def import_triton_interpreter() -> None:
    """Make `import triton` give the interpreter in this process.

    Triton decides whether a kernel is interpreted when the kernel is defined, Triton's own ones
    included. So Triton is imported anew if it was imported for a device before. The environment is
    left as it was, so child processes are not affected.
    """
    from grader.runner.interpreter import compute_as_a_device  # it needs numpy

    triton = sys.modules.get("triton")
    if triton is not None and triton.knobs.runtime.interpret:
        compute_as_a_device()
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == "triton"]:
        if not name.startswith("triton._C"):  # compiled, the same for both
            del sys.modules[name]
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        triton = importlib.import_module("triton")
        triton.knobs.runtime.interpret = True
        compute_as_a_device()
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]


def _imports_triton(source: str) -> bool:
    """Return whether a module imports Triton; False if it cannot be parsed (reported elsewhere)."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return False
    nodes = list(ast.walk(tree))
    names = [alias.name for one in nodes if isinstance(one, ast.Import) for alias in one.names]
    names += [one.module or "" for one in nodes if isinstance(one, ast.ImportFrom)]
    return any(name.partition(".")[0] == "triton" for name in names)
