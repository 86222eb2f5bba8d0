"""Which operators of torch's dispatcher a list in `assignment.toml` means.

Takes: entries such as `aten::softmax`, `aten::*softmax*` or `@compute`. Gives: full names of
operators, overloads included. Does not cover: denying them (see `runner.denial`).

An entry stands for a family: every overload, the in-place and `out` variants, and the inner and
special twins that torch keeps under `_name`, `name_` and `special_name`. So `aten::softmax` is also
`aten::_softmax`, where all its callers end, but not `aten::log_softmax`.
"""

import fnmatch
import importlib.util
import sys
from collections.abc import Iterable

from torch import _C

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
    place, _, last = name.rpartition(".")
    try:
        if importlib.util.find_spec(name):
            return True
    except ImportError:
        return False
    return isinstance(getattr(sys.modules[place], last, None), type)


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
