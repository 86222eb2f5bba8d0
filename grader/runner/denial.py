"""Makes the operators of torch raise that the `denied` list of a problem names.

Entries are names or patterns of operators (`aten::softmax`), `@compute` for all that compute, or
modules and classes (`torch.nn.parallel`, see `runner.guards`). `expand` and `find_unknown` say what
entries mean in this version of torch. `Denials` is installed in the fork server and sealed in its
child; `denied_here` is the same for a while and in any process, for what no submission attacks. It
does not cover what computes without torch's dispatcher: Python's own arithmetic, numpy,
a submission's own machine code, and all that `ctypes` can reach in libraries and memory.

Every documented route ends in the dispatcher's table: functions, methods, operators such as `@`,
`torch.ops`, TorchScript. There, each kernel under each dispatch key is overridden with one that
raises. The dispatcher restores an older kernel only through the handle of the newer registration,
and in a child no Python object refers to that handle any more. A kernel that a submission registers
on top can only be its own code.

Overriding takes 0.2 s for `@compute`. So the fork server does it before it forks, keeps it as long
as the next child has the same denial, and otherwise undoes it.
"""

import contextlib
import ctypes
import fnmatch
import importlib.util
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from torch import _C

from . import guards
from .order import is_module

COMPUTE = "@compute"
"""Entry for every operator of every library that is not in `NOT_COMPUTE`."""

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
_MOVES = """
    arange atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors cat column_stack concat
    concatenate constant_pad_nd diag_embed dstack eye flip fliplr flipud hstack meshgrid narrow_copy
    pad ravel repeat_interleave roll rot90 row_stack select_scatter slice_scatter stack vstack
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
NOT_COMPUTE = frozenset(
    f"aten::{n}" for n in (_ALLOCATION + _VIEWS + _COPIES + _MOVES + _METADATA).split()
)
"""Operators that a kernel's wrapper, Triton's interpreter and the worker itself call. They move and
describe numbers, and make no new ones but constants. No sequence of them adds or compares two
numbers of a tensor, or lets one decide where another goes: so not `item`, `index`, `gather`,
`where`, `tril`, `adjoint` (it negates imaginary parts) or anything random."""

_NOT_COMPUTE_LIBRARIES = ("profiler",)  # marks in a trace

_REGISTERED = re.compile(r"^(?!debug)(\w+)(?:\[alias\])?: registered (?:at|by)", re.MULTILINE)
"""A line of the dispatcher's own description of an operator: one kernel under one key. (A `debug`
line says where the schema is from.)"""

Value = Any  # whatever an operator is called with


def expand(entries: Iterable[str]) -> tuple[str, ...]:
    """Return the names of this torch's operators that `entries` mean, sorted."""
    wanted = tuple(entries)
    return tuple(sorted(n for n in _C._dispatch_get_all_op_names() if _matches(n, wanted)))


def find_unknown(entries: Iterable[str]) -> tuple[str, ...]:
    """Return the entries that match no operator, module or class of this torch."""
    return tuple(
        entry for entry in entries if not (_exists(entry) if is_module(entry) else expand((entry,)))
    )


def _exists(name: str) -> bool:
    """Return whether a module or class of this name exists; imports only the module above it."""
    module, _, last = name.rpartition(".")
    try:
        if importlib.util.find_spec(name):
            return True
    except ImportError:
        return False
    return isinstance(getattr(sys.modules[module], last, None), type)


def _matches(operator: str, entries: tuple[str, ...]) -> bool:
    library, _, name = operator.partition("::")
    base = name.partition(".")[0]
    computes = library not in _NOT_COMPUTE_LIBRARIES and f"{library}::{base}" not in NOT_COMPUTE
    if computes and COMPUTE in entries:
        return True
    forms = {f"{library}::{form}" for form in (base, _plain(base))}
    return any(fnmatch.fnmatchcase(form, entry) for entry in entries for form in forms)


def _plain(base: str) -> str:
    """Return the name under which people know an operator: `softmax` for `_softmax`."""
    return base.strip("_").removeprefix("special_").removesuffix("_out")


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
    """Return the error that a student reads: what was called, in which problem, why denied."""
    return OperationDenied(f"{name} is denied in the problem {_Refusal.problem}: {_Refusal.reason}")


class ModuleDenied(OperationDenied, ModuleNotFoundError):
    """A submission used a module that its problem denies by name.

    It is also a `ModuleNotFoundError`, because torch itself works without some of its modules.
    """


def refuse_module(name: str) -> ModuleDenied:
    """Return the error that a student reads for a module, or for anything in it."""
    return ModuleDenied(str(refuse(name)))


class Denials:
    """The operators and modules that are denied in this process and in its later forks."""

    def __init__(self) -> None:
        self._entries: tuple[str, ...] = ()
        self._handles: list[Any] = []
        self._closed: contextlib.ExitStack | None = None

    def install(self, entries: Iterable[str]) -> None:
        """Deny exactly what `entries` mean; does nothing if that is denied already.

        Raises:
            OSError: if torch refuses to override an operator: our or the machine's fault.
        """
        wanted = tuple(entries)
        if wanted == self._entries:
            return
        self.lift()
        modules = tuple(entry for entry in wanted if is_module(entry))
        try:
            self._override(expand(entry for entry in wanted if not is_module(entry)))
        except RuntimeError as error:
            self.lift()
            raise OSError(f"an operator cannot be denied: {error}") from error
        self._closed = guards.close_modules(modules, refuse_module) if modules else None
        self._entries = wanted

    def lift(self) -> None:
        """Deny nothing any more; in a sealed process this does nothing."""
        for handle in self._handles:
            handle.reset()
        self._handles.clear()
        if self._closed:
            self._closed.close()
        self._closed = None
        self._entries = ()

    def seal(self, problem: str) -> None:
        """Make the denial permanent in this process, and name the problem in its messages.

        Each handle gets an extra reference count, so it stays alive though nothing refers to it.
        """
        self.name(problem)
        if self._closed:  # also kept alive: freeing it would take longer than all else here
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._closed))
        self._closed = None
        if not self._handles:
            return
        for handle in self._handles:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))
        self._handles.clear()
        guards.install(refuse, readers=COMPUTE in self._entries)

    def name(self, problem: str) -> None:
        """Let the messages of what is denied name a problem, and the reason."""
        _Refusal.problem = problem
        _Refusal.reason = "the assignment rules it out"
        if COMPUTE in self._entries:
            _Refusal.reason = (
                "a kernel of your own must compute; "
                "torch may only allocate, view, move, copy and cast"
            )

    def _override(self, names: tuple[str, ...]) -> None:
        libraries: dict[str, Any] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about each override
            for name in names:
                library, _, rest = name.partition("::")
                if library not in libraries:
                    handle = _C._dispatch_library("IMPL", library, "", __file__, 0)
                    libraries[library] = handle
                    self._handles.append(handle)
                refusal = _Refusal(name)
                for key in registered_keys(name):
                    libraries[library].impl(rest, key, refusal)


@contextlib.contextmanager
def denied_here(problem: str, entries: Iterable[str]) -> Iterator[None]:
    """Deny what `entries` mean in this process, and in its forks, while the block runs.

    Afterwards all operators compute again, but `torch.compile` may no longer work in this process.

    Raises:
        OSError: if torch refuses to override an operator.
    """
    wanted = tuple(entries)
    denials = Denials()
    denials.install(wanted)
    denials.name(problem)
    try:
        if all(map(is_module, wanted)):
            yield
        else:
            with guards.close_for_a_while(refuse, readers=COMPUTE in wanted):
                yield
    finally:
        denials.lift()


def registered_keys(operator: str) -> tuple[str, ...]:
    """Return the dispatch keys, including aliases, for which an operator has a kernel.

    Raises:
        RuntimeError: if it has kernels but this torch's description of them cannot be read.
    """
    keys = tuple(dict.fromkeys(_REGISTERED.findall(_C._dispatch_dump(operator))))
    computed = _C._dispatch_has_computed_kernel_for_dispatch_key
    if not keys and any(computed(operator, key) for key in ("CPU", "CUDA", "Undefined")):
        raise RuntimeError(f"this torch does not say where {operator} has its kernels")
    return keys
