"""Loads kernels by path, under a name that no registry has.

Takes: the name of a file in `kernels/`. Gives: the module. Does not cover: running it (without a
CUDA device only the interpreter can, and with `interpreted` it does).

`kernels` is a package on the registry, so nothing here imports that name: the folder becomes the
package `llm_systems_kernels`, and its files may import each other relative to it.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

from grader.assignment.declare import import_triton_interpreter

FOLDER = Path(__file__).resolve().parents[2] / "kernels"
PACKAGE = "llm_systems_kernels"
SHARED = ("checks", "launch", "sums")
"""Files that hold no operation."""
OPERATIONS = tuple(path.stem for path in sorted(FOLDER.glob("*.py")) if path.stem not in SHARED)


def load_kernels(name: str, *, interpreted: bool = False) -> ModuleType:
    """Return the module of `kernels/<name>.py`.

    Args:
        name: of the file, without its ending.
        interpreted: have Triton's interpreter run its kernels on the CPU. Triton settles that when
            a kernel is defined, so one process has one kind only.
    """
    if PACKAGE not in sys.modules:
        if interpreted:
            import_triton_interpreter()
        package = ModuleType(PACKAGE)
        package.__path__ = [str(FOLDER)]
        sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.{name}")
