"""`Program`: a right submission that is mutated, and how a mutant of it is loaded.

Takes: its files. Gives: a namespace in this process; only the changed file is compiled anew. Does
not cover: sandboxes: these are the course's own files.

A solution may run other code on a device than on a CPU. A second program then stands for the device
on a machine without one: wherever a file asks a tensor `is_cuda`, it says yes, and Triton's
interpreter runs the kernels.
"""

import importlib
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, FrameType, ModuleType

from grader.assignment.declare import import_triton_interpreter
from grader.assignment.loaded import LoadedAssignment
from grader.errors import AuthorError
from grader.intake.submission import SourceFile
from grader.mutate.mutants import Mutant
from grader.student.local_ranks import Namespace

SOLUTION = "solution.py"
_ASKED, _YES = ".is_cuda", ".is_cpu "
"""On a CPU the second says what the first says on a device; as long, so that columns stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A right submission, written to a folder of its own.

    Attributes:
        title: as reports name it: "solution.py", "solution.py as on a device".
        shown: name of its entry in names of mutants.
        files: its files, the entry first.
        folder: where they lie.
    """

    title: str
    shown: str
    files: tuple[SourceFile, ...]
    folder: Path

    def load(self, mutant: Mutant | None = None, overlay: Path | None = None) -> Namespace:
        """Import it into this process, with one file changed, and return its entry's names.

        Args:
            mutant: says which file is changed; none if there is no mutant.
            overlay: an empty folder for the changed file.

        Raises:
            Exception: whatever the program raises.
        """
        folders = [self.folder]
        if mutant and overlay:
            folders.insert(0, overlay)
            path = overlay / mutant.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.adapt(mutant.text), encoding="utf-8")
        for package in {f.name.partition("/")[0] for f in self.files if "/" in f.name}:
            for old in [name for name in sys.modules if name.partition(".")[0] == package]:
                del sys.modules[old]
            module = ModuleType(package)
            module.__path__ = [str(folder / package) for folder in folders]
            sys.modules[package] = module
        entry = self.files[0].name
        path = next(folder / entry for folder in folders if (folder / entry).is_file())
        return vars(_import(path.stem, path))

    def adapt(self, text: str) -> str:
        """Return a file's text as this program runs it."""
        return text.replace(_ASKED, _YES) if self.title != self.shown else text

    def write(self) -> None:
        """Write the files to the folder."""
        for file in self.files:
            path = self.folder / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.adapt(file.text), encoding="utf-8")


def _import(name: str, path: Path) -> ModuleType:
    """Import a file as a module of that name."""
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: not a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and triton look a class's module up by its name
    spec.loader.exec_module(module)
    return module


def programs_of(loaded: LoadedAssignment, scratch: Path) -> tuple[Program, ...]:
    """Return the solution, the solution as on a device if it asks for one, and the right answers.

    Those in C++ are left out.

    Args:
        loaded: the assignment.
        scratch: a folder; each program gets one of its own in it, and is written there.
    """
    solution = Program(
        title=SOLUTION,
        shown=SOLUTION,
        files=loaded.solution,
        folder=scratch / "solution",
    )
    found = [solution]
    if any(_ASKED in file.text for file in loaded.solution):
        title, folder = f"{SOLUTION} as on a device", scratch / "device"
        found.append(replace(solution, title=title, folder=folder))
    for path in sorted((loaded.reference / "right").glob("*.py")):
        shown = f"right/{path.name}"
        text = path.read_text(encoding="utf-8")
        found.append(
            Program(
                title=shown,
                shown=shown,
                files=(SourceFile(name="submission.py", text=text),),
                folder=scratch / path.stem,
            )
        )
    for program in found:
        program.write()
    return tuple(found)


def import_everything(modules: Iterable[str], programs: Iterable[Program]) -> None:
    """Import the programs and what they import, so that forks find it; kernels are interpreted.

    Args:
        modules: that problems want imported before.
        programs: written to their folders.

    Raises:
        AuthorError: if one cannot be imported.
    """
    for module in modules:
        importlib.import_module(module)
    for program in programs:
        if any("triton" in file.text for file in program.files):
            import_triton_interpreter()
        try:
            program.load()
        except Exception as error:
            message = f"{program.title}: importing it failed: {type(error).__name__}: {error}"
            raise AuthorError(message) from error


class LineTrace:
    """Notes which lines of a program run, in this process and in those that it forks.

    Args:
        program: whose files are watched; it must be loaded from its own folder.
        memory: shared by all these processes; `size` bytes.
    """

    def __init__(self, program: Program, memory: "memoryview | bytearray") -> None:
        self._memory = memory
        self._bases: dict[str, int] = {}
        self._names: list[tuple[str, int, int]] = []
        base = 0
        for file in program.files:
            lines = file.text.count("\n") + 2
            self._bases[str(program.folder / file.name)] = base
            self._names.append((file.name, base, lines))
            base += lines

    @staticmethod
    def size(program: Program) -> int:
        """Return how many bytes of memory are needed."""
        return sum(file.text.count("\n") + 2 for file in program.files)

    def __call__(self, frame: FrameType, event: str, argument: object) -> Callable | None:  # type: ignore[type-arg]
        """Watch a frame if it is one of the program: what `sys.settrace` calls."""
        code: CodeType = frame.f_code
        base = self._bases.get(code.co_filename)
        if base is None:
            return None
        memory = self._memory

        def line(frame: FrameType, event: str, argument: object) -> Callable:  # type: ignore[type-arg]
            if event == "line":
                memory[base + frame.f_lineno] = 1
            return line

        return line

    def take(self) -> Mapping[str, Collection[int]]:
        """Return the lines that have run since the last time, by file, and forget them."""
        found: dict[str, Sequence[int]] = {}
        for name, base, lines in self._names:
            part = bytes(self._memory[base : base + lines])
            if any(part):
                found[name] = [number for number, ran in enumerate(part) if ran]
                self._memory[base : base + lines] = bytes(lines)
        return found

    def start(self) -> None:
        """Begin to watch, in this thread and in those that it starts."""
        threading.settrace(self)
        sys.settrace(self)

    def stop(self) -> None:
        """Watch no longer."""
        sys.settrace(None)
        threading.settrace(None)
