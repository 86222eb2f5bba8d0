"""Guards around a denial: they close ways to compute that bypass torch's dispatcher.

`install` closes three ways: torch's own compilers, which turn operators into machine code or run
them themselves (`torch.compile`, the tensor expressions and graph passes below `torch.jit`,
nativert); a second torch in a new process; tensors read as numbers of Python or numpy.
`close_for_a_while` closes the same for ordinary calls, on a student's machine, and opens it again.
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
from types import FunctionType, ModuleType
from typing import Any

import torch

from .order import Denial, is_module

Value = Any  # whatever a guarded function is called with
Refuse = Callable[[str], BaseException]  # makes the exception for the name of what was called

COMPILERS = ("torch._dynamo", "torch._inductor")
ENGINES = ("_te", "_nativert")
"""Modules below `torch._C` that run graphs with their own kernels."""
READERS = ("numpy", "tolist", "__array__", "__dlpack__")
"""Methods of tensors that give all their numbers to Python or numpy at once."""
_ALLOWED_JIT = ("_jit_get_", "_jit_resolve_packet")
"""`torch.ops` looks operators up with these."""


def hidden_folders(denial: Denial) -> tuple[str, ...]:
    """Return the folders that a child's confinement hides because of a denial.

    Without torch's libraries, no new process can import torch; this one has already loaded them.
    Without its folder, a package that is denied by name cannot be imported a second time.
    """
    modules = [entry for entry in denial.entries if is_module(entry)]
    folders: list[str] = []
    if len(modules) < len(denial.entries):  # operators are denied
        top = os.path.dirname(torch.__file__)
        folders += (f"{top}/{name}" for name in ("lib", "_dynamo", "_inductor"))
    for name in modules:
        folders += getattr(sys.modules.get(name), "__path__", ())
    return tuple(folders)


def install(refuse: Refuse, *, readers: bool) -> None:
    """Install the guards in this process.

    `READERS` are guarded only if `readers` is set: problems in plain torch may read numbers.
    """
    sys.meta_path.insert(0, _Unimportable(refuse, COMPILERS))
    _empty_engines()
    for name in _jit_names():
        setattr(torch._C, name, _refusing(f"torch._C.{name}", refuse))
    for kind, name in _readers() if readers else ():
        _replace(kind, name, _refusing(f"Tensor.{name}", refuse))


def close_for_a_while(refuse: Refuse, *, readers: bool) -> contextlib.ExitStack:
    """Install the guards but for torch's engines; closing the returned stack takes them away.

    The stack holds what it restores. So this is for a process that no submission attacks.
    """
    reopen = contextlib.ExitStack()
    finder = _Unimportable(refuse, COMPILERS)
    sys.meta_path.insert(0, finder)
    reopen.callback(sys.meta_path.remove, finder)
    for name in [name for name in sys.modules if any(_is_below(name, top) for top in COMPILERS)]:
        reopen.callback(sys.modules.__setitem__, name, sys.modules.pop(name))
    for name in _jit_names():
        reopen.callback(setattr, torch._C, name, vars(torch._C)[name])
        setattr(torch._C, name, _refusing(f"torch._C.{name}", refuse))
    for kind, name in _readers() if readers else ():
        reopen.callback(_replace, kind, name, vars(kind)[name])
        _replace(kind, name, _refusing(f"Tensor.{name}", refuse))
    return reopen


def _jit_names() -> list[str]:
    return [n for n in vars(torch._C) if n.startswith("_jit_") and not n.startswith(_ALLOWED_JIT)]


def _readers() -> list[tuple[type, str]]:
    kinds = (torch.Tensor, torch._C.TensorBase)
    return [(kind, name) for kind in kinds for name in READERS if name in vars(kind)]


def close_modules(names: tuple[str, ...], refuse: Refuse) -> contextlib.ExitStack:
    """Make imports and calls of modules, and new objects of their classes, raise.

    Classes are changed in place, so every other name of them is closed too; `isinstance` works.
    The names are those of modules, with all below them, or of classes. Closing the returned stack
    opens them again.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:  # only loaded modules can be closed
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    reopen = contextlib.ExitStack()
    finder = _Unimportable(refuse, names)
    sys.meta_path.insert(0, finder)
    reopen.callback(sys.meta_path.remove, finder)
    for name in names:
        owner, _, last = name.rpartition(".")
        if owner in sys.modules:
            _close(sys.modules[owner], last, refuse, reopen)
        for module in [m for known, m in sys.modules.items() if _is_below(known, name)]:
            for inner, value in list(vars(module).items()):
                if _is_below(str(getattr(value, "__module__", "")), name):
                    _close(module, inner, refuse, reopen)
    return reopen


def _is_below(name: str, top: str) -> bool:
    return name == top or name.startswith(f"{top}.")


def _close(module: ModuleType, name: str, refuse: Refuse, reopen: contextlib.ExitStack) -> None:
    """Make a function or class of a module refuse to be called; leave anything else alone."""
    value = getattr(module, name, None)
    refusing = _refusing(f"{module.__name__}.{name}", refuse)
    if isinstance(value, type):
        before = vars(value).get("__init__")
        with contextlib.suppress(TypeError):  # an immutable class; torch has none
            value.__init__ = refusing  # type: ignore[misc]
            if before is None:
                reopen.callback(delattr, value, "__init__")
            else:
                reopen.callback(setattr, value, "__init__", before)
    elif isinstance(value, FunctionType):
        reopen.callback(setattr, module, name, value)
        setattr(module, name, refusing)


class _Unimportable:
    """An import finder that refuses some modules; it must come before all other finders."""

    def __init__(self, refuse: Refuse, names: tuple[str, ...]) -> None:
        self._refuse, self._names = refuse, names

    def find_spec(self, name: str, path: Sequence[str] | None, target: Value = None) -> None:
        """Raise for these modules; leave all others to the other finders."""
        if any(_is_below(name, top) for top in self._names):
            raise self._refuse(name)


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
