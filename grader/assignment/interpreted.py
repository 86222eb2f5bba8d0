"""Loads an author's solution so that its Triton kernels are interpreted, on the CPU.

Takes: a reference folder. Gives: its `solution` module. Does not cover: submissions, which never
run in this process.

Triton settles whether a kernel is interpreted when it is defined, its own functions included. So
Triton is imported anew for the interpreter if something has imported it for a device before; who
holds the old functions keeps them, and what this process starts is told nothing.
"""

import ast
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from grader.assignment.declare import load_folder
from grader.assignment.folders import KERNELS, kernel_folders, solution_files


def load_solution(reference: Path) -> ModuleType:
    """Import `solution.py` of a reference folder, with its kernels interpreted if it has any.

    Raises:
        AuthorError: if the file is missing or cannot be imported.
    """
    if any(_imports_triton(file.text) for file in solution_files(reference)):
        import_interpreter()
    with fresh_kernels(reference):
        return load_folder(reference, "solution")


@contextmanager
def fresh_kernels(reference: Path) -> Iterator[None]:
    """Import `kernels` anew while this lasts: what was imported of it before is for a device."""
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


def import_interpreter() -> None:
    """Have `import triton` give the interpreter in this process."""
    triton = sys.modules.get("triton")
    if triton is not None and triton.knobs.runtime.interpret:
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == "triton"]:
        if not name.startswith("triton._C"):  # compiled, the same for both
            del sys.modules[name]
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        triton = importlib.import_module("triton")
        triton.knobs.runtime.interpret = True
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]


def _imports_triton(source: str) -> bool:
    """Return whether a module imports Triton; one that cannot be parsed is reported elsewhere."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return False
    names = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    ]
    return any(name.partition(".")[0] == "triton" for name in names)
