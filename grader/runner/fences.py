"""Fences around a denial: ways past torch's dispatcher that lie open in every Python process.

Takes: nothing, in a child that is denied something. Gives: `put_up`, `hidden_folders`. Does not
cover: the denial itself (see `runner.denial`), nor who climbs: Python keeps nothing from code that
reads its own process's memory, so a fence only sees to it that no ordinary call gets past.

Three ways: torch's own compilers, which turn operators into machine code or interpret them by
themselves (`torch.compile`, the tensor expressions and graph passes below `torch.jit`, nativert); a
second torch in a new process; tensors read as numbers of Python or numpy.
"""

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch

Value = Any  # whatever a fenced function is called with
Refuse = Callable[[str], BaseException]  # makes the exception for the name of what was called

COMPILERS = ("torch._dynamo", "torch._inductor")
ENGINES = ("_te", "_nativert")
"""Modules below `torch._C` that run graphs by kernels of their own."""
READERS = ("numpy", "tolist", "__array__", "__dlpack__")
"""Methods of tensors that hand all numbers to Python or numpy at once."""
_SPARED_JIT = ("_jit_get_", "_jit_resolve_packet")
"""What `torch.ops` finds operators with."""


def hidden_folders() -> tuple[str, ...]:
    """Return folders that a denied child has no use for, where its jail can hide folders.

    Without torch's libraries no new process can import torch; this one has them loaded.
    """
    top = os.path.dirname(torch.__file__)
    return tuple(f"{top}/{name}" for name in ("lib", "_dynamo", "_inductor"))


def put_up(refuse: Refuse, *, readers: bool) -> None:
    """Put the fences up in this process.

    Args:
        refuse: makes the exception.
        readers: also around `READERS`; plain torch problems may read numbers.
    """
    sys.meta_path.insert(0, _NoCompilers(refuse))
    _empty_engines()
    for name in [name for name in vars(torch._C) if _is_jit(name)]:
        setattr(torch._C, name, _refusing(f"torch._C.{name}", refuse))
    for kind in (torch.Tensor, torch._C.TensorBase) if readers else ():
        for name in READERS:
            if name in vars(kind):
                _replace(kind, name, _refusing(f"Tensor.{name}", refuse))


class _NoCompilers:
    """Refuses to find torch's compilers; first among the finders."""

    def __init__(self, refuse: Refuse) -> None:
        self._refuse = refuse

    def find_spec(self, name: str, path: Sequence[str] | None, target: Value = None) -> None:
        """Raise for a compiler, and find nothing else."""
        if name.startswith(COMPILERS):
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
