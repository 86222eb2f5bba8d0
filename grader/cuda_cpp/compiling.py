"""Compiles work in CUDA C++ on the student's own machine, for `grader check`.

It tells whether the code compiles and which launchers it defines. Whether the results are right is
known only when the grader runs the launchers on a GPU.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from grader.assignment.table import Assignment
from grader.errors import UsageError
from grader.intake.submission import Submission
from grader.runner.cuda.nvcc import ANY_ARCHITECTURE, compile_library

SHOWN_LINES = 12
_NAMES = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
print(*(name for name in sys.argv[2:] if hasattr(library, name)))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """The result of compiling a student's work.

    Attributes:
        compiler_output: the whole output of the compiler.
        error: the first error; empty if there is none.
        where: location of the error in the student's files; may be empty.
        defined: launchers that it defines.
        missing: launchers that it does not define.
    """

    compiles: bool
    compiler_output: str
    error: str = ""
    where: str = ""
    defined: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def compile_work(submission: Submission, table: Assignment) -> Compiled:
    """Compile as the grader does, on this machine.

    Raises:
        UsageError: if the compiler is not installed here.
    """
    from grader.cuda_cpp.builder import build_request, explain  # imports torch, which takes a while

    names = tuple(launcher.name for launcher in table.launchers)
    request = build_request(submission, table, ANY_ARCHITECTURE)
    with tempfile.TemporaryDirectory(prefix="grader-compile-") as home:
        reply = compile_library(request, home)
        if reply["missing"]:
            raise UsageError(
                f"{reply['missing']} is not installed here, so your work cannot be compiled",
                hint="pip install 'llm-systems-grader[cuda]', install g++, or hand in unchecked",
            )
        if reply["status"] != 0:
            error, where = explain(reply["output"], submission)
            return Compiled(
                compiles=False,
                compiler_output=reply["output"],
                error=error,
                where=where,
                missing=names,
            )
        defined = _defined(Path(home) / "library.so", names)
    return Compiled(
        compiles=True,
        compiler_output=reply["output"],
        defined=tuple(name for name in names if name in defined),
        missing=tuple(name for name in names if name not in defined),
    )


def print_compiled(compiled: Compiled, console: Console) -> None:
    """Print whether it compiles and which launchers it defines."""
    if not compiled.compiles:
        location = f"{compiled.where}: " if compiled.where else ""
        console.print(Text(f"does not compile: {location}{compiled.error}", style="red"))
        for line in compiled.compiler_output.splitlines()[:SHOWN_LINES]:
            console.print(Text(f"  {line}"))
        return
    console.print(Text(f"compiles for {', '.join(ANY_ARCHITECTURE)}", style="green"))
    for name in compiled.defined:
        console.print(Text(f"  {name}: defined"))
    for name in compiled.missing:
        console.print(
            Text(f"  {name}: not defined, so its problem will get no points", style="yellow")
        )
    note = "Your code was not run: its results and its speed can only be checked on a GPU."
    console.print(Text(note, style="bold"))


def _defined(library: Path, names: tuple[str, ...]) -> set[str]:
    """Return which functions a library defines; it is loaded in a process of its own."""
    command = [sys.executable, "-c", _NAMES, str(library), *names]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return set(found.stdout.split())
