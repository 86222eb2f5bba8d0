"""Loads kernels by path, under a name that no registry has.

Takes: the name of a file in `kernels/`. Gives: the module. Does not cover: running it (without a
CUDA device only the interpreter can, and with `interpreted` it does).

`kernels` is a package on the registry, so nothing here imports that name: the folder becomes the
package `llm_systems_kernels`, and its files may import each other relative to it.
"""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

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
            _import_interpreter()
        package = ModuleType(PACKAGE)
        package.__path__ = [str(FOLDER)]
        sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.{name}")


def _import_interpreter() -> None:
    """Import Triton so that it interprets, in this process only: what it starts is told nothing.

    Triton's own functions are defined for one kind of run as well. If something imported them for
    a device before, they are defined again; who holds the old ones keeps them.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "triton"]:
        if not name.startswith("triton._C"):  # compiled, the same for both
            del sys.modules[name]
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    triton = importlib.import_module("triton")
    triton.knobs.runtime.interpret = True
    if before is None:
        del os.environ["TRITON_INTERPRET"]
