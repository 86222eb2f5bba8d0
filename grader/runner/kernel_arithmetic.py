"""Lets Triton's interpreter compute what a device computes.

`install` changes the interpreter of this process. Then

* a comparison is a mask: combined with a scalar one, it stays one;
* bfloat16 is computed in float32 and rounded to nearest, in products, too; the interpreter holds
  its bits as whole numbers, and computed with those;
* a product of float32 rounds its inputs to TF32 unless it is told `input_precision="ieee"`;
* functions of libdevice are computed by `runner.libdevice`;
* the largest and the smallest of nothing but NaN are NaN, without an error or a warning;
* reductions and scans by a function of one's own combine halves, not one number after the other.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter

from .libdevice import compute

Array = Any  # of numpy
Handle = Any  # an `interpreter.TensorHandle`: an array and its dtype in Triton
Tensor = Any  # of Triton
Value = Any  # of an operation: a handle, a dtype, or a word of Triton's
Builder = Any  # an `interpreter.InterpreterBuilder`
Method = Callable[..., Any]

_Handle = interpreter.TensorHandle
_COMPARISONS = ("create_icmp", "create_fcmp")
_IN_FLOAT32 = ("create_fcmp", "create_min", "create_max")
_IN_FLOAT32_NAMED = (
    "create_fadd create_fsub create_fmul create_fdiv create_frem create_fneg create_fma "
    "create_clampf create_precise_divf create_approx_divf"
).split()


def install() -> None:
    """Change the interpreter of this process."""
    builder = interpreter.InterpreterBuilder
    for name, method in list(vars(builder).items()):
        changed = method
        if name.startswith(_IN_FLOAT32) or name in _IN_FLOAT32_NAMED:
            changed = _in_float32(changed)
        if name.startswith(_COMPARISONS):
            changed = _as_mask(changed)
        if changed is not method:
            setattr(builder, name, changed)
    builder.cast_impl = _casting(builder.cast_impl)
    builder.create_fp_to_fp = _converting(builder.create_fp_to_fp)
    builder.create_dot = _multiplying(builder.create_dot)
    builder.create_atomic_rmw = _changing(builder.create_atomic_rmw)
    builder.create_extern_elementwise = _call_libdevice
    builder.create_erf = _erf
    interpreter.ReduceOps.min_max = _extreme
    interpreter.ReduceOps.sum = _summing(interpreter.ReduceOps.sum)
    interpreter.ReduceOps.generic_reduce = _reduce
    interpreter.ScanOps.generic_scan = _scan
    for name in ("cumsum", "cumprod"):
        method = getattr(interpreter.ScanOps, name)
        setattr(interpreter.ScanOps, name, _scanning(method))


def _is_brain(operand: Value) -> bool:
    return isinstance(operand, _Handle) and operand.dtype.scalar == tl.bfloat16


def widen(bits: Array) -> Array:
    """Return the float32 numbers of bfloat16 bits."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def narrow(numbers: Array) -> Array:
    """Return the bits of float32 numbers rounded to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(numbers, dtype=np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    quiet = bits >> np.uint32(16) | np.uint32(0x40)  # a NaN stays one
    return np.where(np.isnan(numbers), quiet, rounded).astype(np.uint16).reshape(numbers.shape)


def _in_float32(method: Method) -> Method:
    """Compute in float32 what is asked of bfloat16, and round."""

    def computed(self: Builder, *operands: Value) -> Handle:
        if not any(map(_is_brain, operands)):
            return method(self, *operands)
        wide = (_Handle(widen(o.data), tl.float32) if _is_brain(o) else o for o in operands)
        result = method(self, *wide)
        if result.dtype != tl.float32 or result.data.dtype == np.bool_:
            return result
        return _Handle(narrow(result.data), tl.bfloat16)

    return computed


def _as_mask(method: Method) -> Method:
    def compared(self: Builder, *operands: Handle) -> Handle:
        return _Handle(method(self, *operands).data, tl.int1)

    return compared


def _casting(cast: Method) -> Method:
    """Cast bfloat16 by way of float32; the first of two roundings is far finer."""

    def casted(self: Builder, source: Handle, kind: Value) -> Handle:
        target = kind.scalar
        if source.dtype.scalar == target or tl.bfloat16 not in (source.dtype.scalar, target):
            return cast(self, source, kind)
        if _is_brain(source):
            wide = _Handle(widen(source.data), tl.float32)
            return wide if target == tl.float32 else cast(self, wide, target)
        return _Handle(narrow(source.data.astype(np.float32)), tl.bfloat16)

    return casted


def _converting(convert: Method) -> Method:
    """Round to bfloat16 to nearest, unless it is to be cut off."""

    def converted(self: Builder, source: Handle, kind: Value, rounding: Value) -> Handle:
        target = kind.scalar
        cut = rounding == interpreter._ir.ROUNDING_MODE.RTZ
        whole = (tl.bfloat16, tl.float16, tl.float32, tl.float64)
        if cut or source.dtype.scalar not in whole or target not in whole:
            return convert(self, source, kind, rounding)
        return self.cast_impl(source, kind)

    return converted


def _multiplying(multiply: Method) -> Method:
    """Multiply what tensor cores multiply: numbers of bfloat16, and TF32 where it is not denied."""

    def multiplied(
        self: Builder, a: Handle, b: Handle, acc: Handle, precision: Value, most: int
    ) -> Handle:
        pair = [_Handle(widen(o.data), tl.float32) if _is_brain(o) else o for o in (a, b)]
        tf32 = precision == interpreter._ir.INPUT_PRECISION.TF32
        if tf32 and a.dtype.scalar == tl.float32:
            pair = [_Handle(interpreter._round_f32_to_tf32(o.data), tl.float32) for o in pair]
        return multiply(self, *pair, acc, precision, most)

    return multiplied


def _changing(change: Method) -> Method:
    """Change memory atomically where the interpreter cannot: bfloat16, and exchanges of floats."""

    def changed(
        self: Builder, operation: Value, pointer: Handle, value: Handle, mask: Handle, *how: Value
    ) -> Handle:
        operations = interpreter._ir.ATOMIC_OP
        adds = operation == operations.FADD and _is_brain(value)
        swaps = operation == operations.XCHG and value.dtype.scalar.is_floating()
        if not adds and not swaps:
            return change(self, operation, pointer, value, mask, *how)
        before = np.zeros_like(value.data)
        for index in np.ndindex(value.data.shape):
            if mask.data[index]:
                at, new = _part(pointer, index), _part(value, index)
                old = self.create_load(at, None, True)
                self.create_store(at, self.create_fadd(old, new) if adds else new, None)
                before[index] = old.data[0]
        return _Handle(before, value.dtype.scalar)

    return changed


def _part(handle: Handle, index: tuple[int, ...]) -> Handle:
    return _Handle(handle.data[index].reshape(1), handle.dtype)


def _call_libdevice(
    _self: Builder, _name: str, _path: str, symbol: str, operands: Sequence[Handle], *kind: Value
) -> Handle:
    result = compute(symbol, *(one.data for one in operands))
    dtype = kind[0].scalar
    return _Handle(np.asarray(result).astype(interpreter._get_np_dtype(dtype)), dtype)


def _erf(_self: Builder, operand: Handle) -> Handle:
    data = operand.data
    values = np.array([math.erf(x) for x in data.ravel().tolist()], dtype=data.dtype)
    return _Handle(values.reshape(data.shape), operand.dtype.scalar)


def _extreme(self: Value, given: Value, val_reduce_op: Value, idx_reduce_op: Value = None) -> Value:
    """Return the largest or smallest number and its index; a NaN counts only among NaN."""
    tensor = given[0] if isinstance(given, tuple) else given
    brain = _is_brain(tensor.handle)
    data = widen(tensor.handle.data) if brain else tensor.handle.data
    smallest = val_reduce_op is np.nanmin or idx_reduce_op is np.nanargmin
    how = {"axis": self.axis, "keepdims": self.keep_dims}
    found = []
    if val_reduce_op:
        value = (np.fmin if smallest else np.fmax).reduce(data, **how)
        found.append(self.to_tensor(narrow(np.asarray(value)) if brain else value, tensor.dtype))
    if idx_reduce_op:
        if data.dtype.kind == "f":
            data = np.where(np.isnan(data), np.inf if smallest else -np.inf, data)
        found.append(self.to_tensor((np.argmin if smallest else np.argmax)(data, **how), tl.int32))
    return found[0] if len(found) == 1 else tuple(found)


def _summing(method: Method) -> Method:
    """Add bfloat16 as a function of one's own is reduced."""

    def summed(self: Value, given: Value) -> Value:
        return _reduce(self, (given,))[0] if _is_brain(given.handle) else method(self, given)

    return summed


def _scanning(method: Method) -> Method:
    def scanned(self: Value, given: Value) -> Value:
        return _scan(self, (given,)) if _is_brain(given.handle) else method(self, given)

    return scanned


def _combine(
    self: Value, left: Sequence[Array], right: Sequence[Array], like: Value
) -> list[Array]:
    """Return what a function of one's own makes of two blocks for each operand."""
    made = self.combine_fn(
        *(
            self.to_tensor(part, one.dtype)
            for side in (left, right)
            for part, one in zip(side, like, strict=True)
        )
    )
    made = made if isinstance(made, (tuple, list, tl.tuple)) else (made,)
    return [
        np.broadcast_to(
            interpreter.interpreter_semantic.to_tensor(m).handle.data, old.shape
        ).astype(old.dtype)
        for m, old in zip(made, left, strict=True)
    ]


def _reduce(self: Value, given: Value) -> list[Tensor]:
    """Combine neighbours until one is left, in order, for all rows at once."""
    axis = 0 if self.axis is None else self.axis
    shape = given[0].handle.data.shape
    parts = [t.handle.data.reshape(-1) if self.axis is None else t.handle.data for t in given]
    parts = [np.moveaxis(part, axis, -1) for part in parts]
    while parts[0].shape[-1] > 1:
        even, odd = ([np.ascontiguousarray(p[..., k::2]) for p in parts] for k in (0, 1))
        parts = _combine(self, even, odd, given)
    if self.keep_dims:
        ones = [
            1 if self.axis is None or k == axis % len(shape) else n for k, n in enumerate(shape)
        ]
        parts = [part.reshape(ones) for part in parts]
    else:
        parts = [part[..., 0] for part in parts]
    return [self.to_tensor(part, one.dtype) for part, one in zip(parts, given, strict=True)]


def _scan(self: Value, given: Value) -> list[Tensor]:
    """Combine each entry with the one 1, 2, 4, … places before it."""
    parts = [np.moveaxis(t.handle.data, self.axis, -1) for t in given]
    length = parts[0].shape[-1]
    step = 1
    while step < length:
        before = [np.roll(part, step, axis=-1) for part in parts]
        made = _combine(self, before, parts, given)
        inside = np.arange(length) >= step
        parts = [np.where(inside, new, old) for new, old in zip(made, parts, strict=True)]
        step *= 2
    parts = [np.ascontiguousarray(np.moveaxis(part, -1, self.axis)) for part in parts]
    return [self.to_tensor(part, one.dtype) for part, one in zip(parts, given, strict=True)]
