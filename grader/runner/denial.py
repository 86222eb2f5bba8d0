"""Operators that raise: what a problem rules out is taken from torch's dispatcher itself.

Takes: entries of a `denied` list (see `runner.denial`). Gives: `Denials`, installed in the warm
process and sealed in its child. Does not cover: what computes without torch's dispatcher: Python's
own arithmetic, numpy, machine code of a submission's own, and whatever `ctypes` reaches in
libraries and memory.

Every route that torch documents ends in the dispatcher's table: functions, methods, operators such
as `@`, `torch.ops`, TorchScript. Each kernel there, for each key, is overridden with one that
raises. The dispatcher gives an older kernel back only to who holds the handle of the newer
registration, and in a child no Python object refers to it any more. A kernel that a submission
registers on top can only be its own code.

Overriding takes a fifth of a second for `@compute`. So the warm process does it before it forks,
keeps it while the next child is denied the same, and undoes it for a child that is not.
"""

import ctypes
import fnmatch
import importlib.util
import re
import sys
import warnings
from collections.abc import Iterable
from typing import Any, NoReturn

from torch import _C

from . import guards
from .order import is_module

COMPUTE = "@compute"
"""Every operator of every library that is not listed in `SPARED`."""

_ALLOCATION = """
    empty empty_like empty_strided empty_permuted new_empty new_empty_strided zeros zeros_like
    new_zeros ones ones_like new_ones full full_like new_full scalar_tensor fill_ zero_ resize_ set_
    lift lift_fresh pin_memory _pin_memory is_pinned
"""
_VIEWS = """
    alias as_strided as_strided_ broadcast_to chunk detach detach_ diagonal dsplit expand expand_as
    flatten hsplit mT moveaxis movedim narrow numpy_T permute reshape reshape_as select slice split
    split_with_sizes squeeze squeeze_ swapaxes swapaxes_ swapdims swapdims_ t t_ tensor_split
    transpose transpose_ unbind unflatten unfold unsafe_chunk unsafe_split unsafe_split_with_sizes
    unsqueeze unsqueeze_ view view_as view_as_complex view_as_real vsplit _reshape_alias
    _unsafe_view
"""
_COPIES = """
    clone contiguous copy_ to type_as _copy_from _copy_from_and_resize _foreach_copy_ _to_copy
"""
_METADATA = """
    can_cast dim get_device is_coalesced is_complex is_conj is_contiguous is_distributed
    is_floating_point is_inference is_leaf is_neg is_same_size
    is_set_to is_signed numel output_nr promote_types record_stream requires_grad_
    resolve_conj resolve_neg result_type retain_grad retains_grad set_data data size storage_offset
    stride sym_is_contiguous sym_numel sym_size sym_storage_offset
    sym_stride _debug_has_internal_overlap _has_compatible_shallow_copy_type
    _has_same_storage_numel _is_zerotensor _version
"""
SPARED = frozenset(f"aten::{n}" for n in (_ALLOCATION + _VIEWS + _COPIES + _METADATA).split())
"""What a kernel's wrapper, Triton's interpreter and the box itself call: it moves and names numbers
and makes none but constants. Not `item`, `index`, `cat`, `arange` or anything random."""

_SPARED_LIBRARIES = ("profiler",)  # marks in a trace


def expand(entries: Iterable[str]) -> tuple[str, ...]:
    """Return the operators of this torch that `entries` mean, ascending."""
    wanted = tuple(entries)
    return tuple(sorted(n for n in _C._dispatch_get_all_op_names() if _is_meant(n, wanted)))


def find_unknown(entries: Iterable[str]) -> tuple[str, ...]:
    """Return the entries that mean no operator, module or class of this torch."""
    return tuple(
        entry
        for entry in entries
        if not (_is_there(entry) if is_module(entry) else expand((entry,)))
    )


def _is_there(name: str) -> bool:
    """Return whether there is a module or class of this name; imports no more than holds it."""
    module, _, last = name.rpartition(".")
    try:
        if importlib.util.find_spec(name):
            return True
    except ImportError:
        return False
    return isinstance(getattr(sys.modules[module], last, None), type)


def _is_meant(operator: str, entries: tuple[str, ...]) -> bool:
    library, _, name = operator.partition("::")
    base = name.partition(".")[0]
    if COMPUTE in entries:
        spared = library in _SPARED_LIBRARIES or f"{library}::{base}" in SPARED
        if not spared:
            return True
    forms = {f"{library}::{form}" for form in (base, _plain(base))}
    return any(fnmatch.fnmatchcase(form, entry) for entry in entries for form in forms)


def _plain(base: str) -> str:
    """Return the name that a person knows an operator by."""
    return base.strip("_").removeprefix("special_").removesuffix("_out")


Value = Any  # whatever an operator is called with

_REGISTERED = re.compile(r"^(?!debug)(\w+)(?:\[alias\])?: registered (?:at|by)", re.MULTILINE)
"""A line of the dispatcher's own description of an operator: one kernel under one key. (`debug`
says where the schema is from.)"""


class OperationDenied(RuntimeError):
    """A submission called an operator that its problem denies."""


class _Refusal:
    """A kernel that raises."""

    problem = ""
    reason = ""

    def __init__(self, operator: str) -> None:
        self._operator = operator

    def __call__(self, *_: Value, **__: Value) -> NoReturn:
        raise refuse(self._operator)


def refuse(name: str) -> OperationDenied:
    """Return what a student reads: what was called, in which problem, why it is denied."""
    return OperationDenied(f"{name} is denied in the problem {_Refusal.problem}: {_Refusal.reason}")


class ModuleDenied(OperationDenied, ModuleNotFoundError):
    """The same for what is denied by the name of its module.

    Who imports it finds none: torch itself goes on without some of its parts.
    """


def refuse_module(name: str) -> ModuleDenied:
    """Return what a student reads of a module, or of what is in it."""
    return ModuleDenied(str(refuse(name)))


class Denials:
    """What is denied in this process, and in its forks."""

    def __init__(self) -> None:
        self._entries: tuple[str, ...] = ()
        self._handles: list[Any] = []
        self._closed: guards.Closed | None = None

    def install(self, entries: Iterable[str]) -> None:
        """Deny exactly the operators that `entries` mean; no time passes if they are denied.

        Raises:
            OSError: if torch does not let an operator be denied: ours or the machine's fault.
        """
        wanted = tuple(entries)
        if wanted == self._entries:
            return
        self._undo()
        modules = tuple(entry for entry in wanted if is_module(entry))
        try:
            self._override(expand(entry for entry in wanted if not is_module(entry)))
        except RuntimeError as error:
            self._undo()
            raise OSError(f"an operator cannot be denied: {error}") from error
        self._closed = guards.close_modules(modules, refuse_module) if modules else None
        self._entries = wanted

    def _undo(self) -> None:
        for handle in self._handles:
            handle.reset()
        self._handles.clear()
        if self._closed:
            self._closed.reopen()
        self._closed = None
        self._entries = ()

    def seal(self, problem: str) -> None:
        """Give the denial up to a problem: from here on this process cannot undo it.

        Each handle is kept alive by a count that no object stands for.
        """
        _Refusal.problem = problem
        _Refusal.reason = "the assignment rules it out"
        if self._closed:  # kept alive as well: to free it takes longer than all else here
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._closed))
        self._closed = None
        if not self._handles:
            return
        for_kernel = COMPUTE in self._entries
        if for_kernel:
            _Refusal.reason = (
                "a kernel of your own must compute; torch may only allocate, view, copy and cast"
            )
        for handle in self._handles:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))
        self._handles.clear()
        guards.put_up(refuse, readers=for_kernel)

    def _override(self, names: tuple[str, ...]) -> None:
        libraries: dict[str, Any] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that kernels are overridden
            for name in names:
                library, _, rest = name.partition("::")
                if library not in libraries:
                    handle = _C._dispatch_library("IMPL", library, "", __file__, 0)
                    libraries[library] = handle
                    self._handles.append(handle)
                refusal = _Refusal(name)
                for key in registered_keys(name):
                    libraries[library].impl(rest, key, refusal)


def registered_keys(operator: str) -> tuple[str, ...]:
    """Return the dispatch keys, aliases among them, that an operator has a kernel for.

    Raises:
        RuntimeError: if it has kernels and this torch words its description in another way.
    """
    keys = tuple(dict.fromkeys(_REGISTERED.findall(_C._dispatch_dump(operator))))
    computed = _C._dispatch_has_computed_kernel_for_dispatch_key
    if not keys and any(computed(operator, key) for key in ("CPU", "CUDA", "Undefined")):
        raise RuntimeError(f"this torch does not say where {operator} has its kernels")
    return keys
