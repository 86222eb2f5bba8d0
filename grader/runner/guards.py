"""Guards around a denial: they close ways to compute that bypass torch's dispatcher.

`install` closes three ways: torch's own compilers, which turn operators into machine code or run
them themselves (`torch.compile`, the tensor expressions and graph passes below `torch.jit`,
nativert); a second torch in a new process; tensors read as numbers of Python or numpy.
`close_modules` denies modules and classes by name. The denial of operators is in `runner.denial`.

Python cannot stop code that reads its own process's memory. So a guard only ensures that no
ordinary call gets around a denial.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import torch

from .order import Denial

Value = Any  # whatever a guarded function is called with
Refuse = Callable[[str], BaseException]  # makes the exception for the name of what was called

COMPILERS = ("torch._dynamo", "torch._inductor")
ENGINES = ("_te", "_nativert")
"""Modules below `torch._C` that run graphs with their own kernels."""
_ABSENT = object()
READERS = ("numpy", "tolist", "__array__", "__dlpack__")
"""Methods of tensors that give all their numbers to Python or numpy at once."""
_ALLOWED_JIT = ("_jit_get_", "_jit_resolve_packet")
"""`torch.ops` looks operators up with these."""


def hidden_folders(denial: Denial) -> tuple[str, ...]:
    """Return the folders that a child's confinement hides because of a denial.

    Without torch's libraries, no new process can import torch; this one has already loaded them.
    Without its folder, a package that is denied by name cannot be imported a second time.
    """
    top = os.path.dirname(torch.__file__)
    folders = [f"{top}/{name}" for name in ("lib", "_dynamo", "_inductor") if denial.operators]
    for name in denial.modules:
        folders += getattr(sys.modules.get(name), "__path__", ())
    return tuple(folders)


def install(refuse: Refuse, *, readers: bool) -> None:
    """Install the guards in this process.

    Args:
        refuse: makes the exception.
        readers: whether to guard `READERS` too; problems in plain torch may read numbers.
    """
    sys.meta_path.insert(0, _Unimportable(refuse, COMPILERS))
    _empty_engines()
    for name in [name for name in vars(torch._C) if _is_jit(name)]:
        setattr(torch._C, name, _refusing(f"torch._C.{name}", refuse))
    for kind in (torch.Tensor, torch._C.TensorBase) if readers else ():
        for name in READERS:
            if name in vars(kind):
                _replace(kind, name, _refusing(f"Tensor.{name}", refuse))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedModules:
    """Modules that `close_modules` has closed, and what opens them again.

    Attributes:
        finder: keeps them from being imported.
        changed: (class or module, name that was replaced, value before; `_ABSENT` if it had none).
    """

    finder: "_Unimportable"
    changed: list[tuple[Value, str, Value]]

    def reopen(self) -> None:
        """Undo all changes."""
        sys.meta_path.remove(self.finder)
        for owner, name, before in reversed(self.changed):
            if before is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


def close_modules(names: tuple[str, ...], refuse: Refuse) -> ClosedModules:
    """Make imports and calls of these modules, and new objects of their classes, raise.

    Classes are changed in place, so every other name of them is closed too; `isinstance` works.

    Args:
        names: of modules (with all below them) or of classes.
        refuse: makes the exception.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:  # only loaded modules can be closed
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    closed = ClosedModules(finder=_Unimportable(refuse, names), changed=[])
    sys.meta_path.insert(0, closed.finder)
    for name in names:
        owner, _, last = name.rpartition(".")
        if owner in sys.modules:
            _close(sys.modules[owner], last, refuse, closed)
        for module in [m for known, m in sys.modules.items() if _is_below(known, name)]:
            for inner, value in list(vars(module).items()):
                if _is_below(str(getattr(value, "__module__", "")), name):
                    _close(module, inner, refuse, closed)
    return closed


def _is_below(name: str, top: str) -> bool:
    return name == top or name.startswith(f"{top}.")


def _close(module: ModuleType, name: str, refuse: Refuse, closed: ClosedModules) -> None:
    """Make a function or class of a module refuse to be called; leave anything else alone."""
    value = getattr(module, name, None)
    refusing = _refusing(f"{module.__name__}.{name}", refuse)
    if isinstance(value, type):
        before = vars(value).get("__init__", _ABSENT)
        with contextlib.suppress(TypeError):  # an immutable class; torch has none
            value.__init__ = refusing  # type: ignore[misc]
            closed.changed.append((value, "__init__", before))
    elif isinstance(value, FunctionType):
        closed.changed.append((module, name, value))
        setattr(module, name, refusing)


class _Unimportable:
    """An import finder that refuses some modules; it must come before all other finders."""

    def __init__(self, refuse: Refuse, names: tuple[str, ...]) -> None:
        self._refuse, self._names = refuse, names

    def find_spec(self, name: str, path: Sequence[str] | None, target: Value = None) -> None:
        """Raise for these modules; leave all others to the other finders."""
        if any(_is_below(name, top) for top in self._names):
            raise self._refuse(name)


def _is_jit(name: str) -> bool:
    return name.startswith("_jit_") and not name.startswith(_ALLOWED_JIT)


def _refusing(name: str, refuse: Refuse) -> Callable[..., Value]:
    def denied(*_: Value, **__: Value) -> Value:
        raise refuse(name)

    return denied


def _replace(kind: type, name: str, method: Callable[..., Value]) -> None:
    """Replace a method, even of a class that Python treats as immutable."""
    (names,) = gc.get_referents(vars(kind))
    names[name] = method
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


def _empty_engines() -> None:
    """Delete all methods of the engines' classes: these are found through `__subclasses__`."""
    for name in ENGINES:
        module = sys.modules.pop(f"torch._C.{name}", None) or getattr(torch._C, name, None)
        if isinstance(module, ModuleType):
            for kind in vars(module).values():
                if isinstance(kind, type):
                    _empty(kind)
            vars(module).clear()
        vars(torch._C).pop(name, None)


def _empty(kind: type) -> None:
    for name, method in list(vars(kind).items()):
        if callable(method) or name == "__init__":
            with contextlib.suppress(AttributeError, TypeError):
                delattr(kind, name)
