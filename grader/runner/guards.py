"""Fences around a denial: ways past torch's dispatcher that lie open in every Python process.

Takes: nothing, in a child that is denied something. Gives: `put_up`, `hidden_folders`, and for what
a problem denies by a module's name `close_modules`. Does not cover: the denial itself (see
`runner.denial`), nor who climbs: Python keeps nothing from code that reads its own process's
memory, so a fence only sees to it that no ordinary call gets past.

Three ways: torch's own compilers, which turn operators into machine code or interpret them by
themselves (`torch.compile`, the tensor expressions and graph passes below `torch.jit`, nativert); a
second torch in a new process; tensors read as numbers of Python or numpy.
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

Value = Any  # whatever a fenced function is called with
Refuse = Callable[[str], BaseException]  # makes the exception for the name of what was called

COMPILERS = ("torch._dynamo", "torch._inductor")
ENGINES = ("_te", "_nativert")
"""Modules below `torch._C` that run graphs by kernels of their own."""
_NOTHING = object()
READERS = ("numpy", "tolist", "__array__", "__dlpack__")
"""Methods of tensors that hand all numbers to Python or numpy at once."""
_SPARED_JIT = ("_jit_get_", "_jit_resolve_packet")
"""What `torch.ops` finds operators with."""


def hidden_folders(denial: Denial) -> tuple[str, ...]:
    """Return folders that a denied child has no use for, and that its jail hides.

    Without torch's libraries no new process can import torch; this one has them loaded. Without its
    folder no package that is denied by name can be imported a second time.
    """
    top = os.path.dirname(torch.__file__)
    folders = [f"{top}/{name}" for name in ("lib", "_dynamo", "_inductor") if denial.operators]
    for name in denial.modules:
        folders += getattr(sys.modules.get(name), "__path__", ())
    return tuple(folders)


def put_up(refuse: Refuse, *, readers: bool) -> None:
    """Put the fences up in this process.

    Args:
        refuse: makes the exception.
        readers: also around `READERS`; plain torch problems may read numbers.
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
class Closed:
    """What must be put back to open modules again.

    Attributes:
        finder: what keeps them from being imported.
        changed: classes and modules with the name that was set and what it stood for before;
            `_NOTHING` if it was not there.
    """

    finder: "_Unimportable"
    changed: list[tuple[Value, str, Value]]

    def reopen(self) -> None:
        """Let everything be as it was."""
        sys.meta_path.remove(self.finder)
        for owner, name, before in reversed(self.changed):
            if before is _NOTHING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


def close_modules(names: tuple[str, ...], refuse: Refuse) -> Closed:
    """Let nothing of these modules be imported, called or made an object of.

    Classes are changed in place, wherever else they are known; they stay good for `isinstance`.

    Args:
        names: of modules, with all below them, or of classes.
        refuse: makes the exception.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:  # what is loaded can be closed for good, wherever it comes from later
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    closed = Closed(finder=_Unimportable(refuse, names), changed=[])
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


def _close(module: ModuleType, name: str, refuse: Refuse, closed: Closed) -> None:
    """Let a function or class of a module refuse to be called; leave anything else."""
    value = getattr(module, name, None)
    refusing = _refusing(f"{module.__name__}.{name}", refuse)
    if isinstance(value, type):
        before = vars(value).get("__init__", _NOTHING)
        with contextlib.suppress(TypeError):  # of what is immutable; torch's classes are not
            value.__init__ = refusing  # type: ignore[misc]
            closed.changed.append((value, "__init__", before))
    elif isinstance(value, FunctionType):
        closed.changed.append((module, name, value))
        setattr(module, name, refusing)


class _Unimportable:
    """Refuses to find some modules; first among the finders."""

    def __init__(self, refuse: Refuse, names: tuple[str, ...]) -> None:
        self._refuse, self._names = refuse, names

    def find_spec(self, name: str, path: Sequence[str] | None, target: Value = None) -> None:
        """Raise for these modules, and find nothing else."""
        if any(_is_below(name, top) for top in self._names):
            raise self._refuse(name)


def _is_jit(name: str) -> bool:
    return name.startswith("_jit_") and not name.startswith(_SPARED_JIT)


def _refusing(name: str, refuse: Refuse) -> Callable[..., Value]:
    def denied(*_: Value, **__: Value) -> Value:
        raise refuse(name)

    return denied


def _replace(kind: type, name: str, method: Callable[..., Value]) -> None:
    """Replace a method, of a class that Python holds to be immutable as well."""
    (names,) = gc.get_referents(vars(kind))
    names[name] = method
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


def _empty_engines() -> None:
    """Take the methods from the engines' classes, which every class's list of subclasses names."""
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
