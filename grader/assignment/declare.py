"""How `cases.py` says which function is the case of which check or the workload of which target.

Takes: a `cases.py` by path. Gives: its `CaseMaker`s and `Workload`s. Does not cover: running them.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from grader.assignment.draw import Draw
from grader.assignment.folders import SHARED, shared_folders
from grader.assignment.steps import CaseSteps, Value, WorkloadSteps
from grader.errors import AuthorError

CaseFunction = Callable[[Draw], CaseSteps]
WorkloadFunction = Callable[[Draw, int], WorkloadSteps]
Key = tuple[str, str]
"""Problem and check, or problem and target."""


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

    def __call__(self, draw: Draw) -> CaseSteps:
        """Start one instance of the case."""
        return self.make(draw)


def case(
    problem: str, check: str, *, public: int = 1, hidden: int = 3
) -> Callable[[CaseFunction], CaseMaker]:
    """Mark a generator function as the case of `problem`'s `check`."""

    def mark(function: CaseFunction) -> CaseMaker:
        return CaseMaker(problem=problem, check=check, public=public, hidden=hidden, make=function)

    return mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A case whose cost is measured, for the submission and for the hidden reference alike.

    Attributes:
        problem: name of the problem in `assignment.toml`.
        target: name of the target within that problem.
        sizes: what `make` is called with, ascending; one unless growth is measured.
        make: the generator function; all of its calls count, and all replies are compared.
    """

    problem: str
    target: str
    sizes: tuple[int, ...]
    make: WorkloadFunction

    def __call__(self, draw: Draw, size: int) -> WorkloadSteps:
        """Start one run of the workload."""
        return self.make(draw, size)


def workload(
    problem: str, target: str, *, sizes: Sequence[int]
) -> Callable[[WorkloadFunction], Workload]:
    """Mark a generator function as what is measured for `problem`'s `target`.

    Raises:
        AuthorError: if the sizes are not positive and ascending.
    """
    if not sizes or sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
        raise AuthorError(f"{problem}.{target}: sizes: expected ascending numbers, found {sizes}")

    def mark(function: WorkloadFunction) -> Workload:
        return Workload(problem=problem, target=target, sizes=tuple(sizes), make=function)

    return mark


def load_folder(folder: Path, module: str) -> ModuleType:
    """Import `folder/<module>.py` so that relative imports reach its neighbours.

    Of a reference they reach the harness of its assignment and the shared files, too.

    Raises:
        AuthorError: if the file is missing or cannot be imported.
    """
    path = folder / f"{module}.py"
    if not path.is_file():
        raise AuthorError(f"{path}: not found", hint="every reference folder needs this file")
    package = "grader_reference_" + "".join(
        c if c.isalnum() else "_" for c in str(folder.resolve())
    )
    if package not in sys.modules:
        parent = ModuleType(package)
        parent.__path__ = [str(folder), *map(str, shared_folders(folder))]
        sys.modules[package] = parent
    name = f"{package}.{module}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise AuthorError(f"{path}: not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    _execute(loaded, path)
    return loaded


def load_harness(assignment: Path, name: str = "grader_harness") -> Mapping[str, Value]:
    """Import an assignment's harness and return its names, none if it has no harness.

    Args:
        assignment: folder of the assignment.
        name: name of the module that the harness becomes.

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
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=folders or None
    )
    if spec is None:
        raise AuthorError(f"{path}: not a Python file")
    harness = importlib.util.module_from_spec(spec)
    _execute(harness, path)
    return vars(harness)


def _execute(module: ModuleType, path: Path) -> None:
    """Run a module that was made of a file, known by its name from the beginning.

    Raises:
        AuthorError: if it raises.
    """
    spec = module.__spec__
    if spec is None or spec.loader is None:
        raise AuthorError(f"{path}: not a Python file")
    sys.modules[module.__name__] = module  # triton and dataclasses look a class's module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module.__name__]
        raise AuthorError(f"{path}: {type(error).__name__}: {error}") from error


def load_workloads(folder: Path) -> dict[Key, Workload]:
    """Return the workloads of `folder/cases.py` by (problem, target).

    Raises:
        AuthorError: if the file cannot be imported, or two workloads claim one target.
    """
    found: dict[Key, Workload] = {}
    for maker in _declared(folder):
        if not isinstance(maker, Workload):
            continue
        key = (maker.problem, maker.target)
        if found.get(key, maker) is not maker:
            raise AuthorError(f"{folder / 'cases.py'}: two workloads for {'.'.join(key)}")
        found[key] = maker
    return found


def load_cases(folder: Path) -> dict[Key, CaseMaker]:
    """Return the cases of `folder/cases.py` by (problem, check).

    Raises:
        AuthorError: if the file cannot be imported, or two cases claim one check.
    """
    found: dict[Key, CaseMaker] = {}
    for maker in _declared(folder):
        if not isinstance(maker, CaseMaker):
            continue
        key = (maker.problem, maker.check)
        if found.get(key, maker) is not maker:
            raise AuthorError(f"{folder / 'cases.py'}: two cases for check {'.'.join(key)}")
        found[key] = maker
    return found


def _declared(folder: Path) -> Iterator[object]:
    """Return what `cases.py` defines, and the modules that it lists as `MODULES`."""
    cases = load_folder(folder, "cases")
    for module in (cases, *getattr(cases, "MODULES", ())):
        yield from vars(module).values()
