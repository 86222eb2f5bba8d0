"""Arguments and expected values as typed JSON, tensors byte for byte with their strides.

Takes: a value of a case, or its JSON form. Gives: the other. Does not cover: steps (see
`student.trace`). Nothing is pickled; the form is that of `runner.protocol`, with `t` holding the
tensor itself (dtype, shape, strides, base64 of its entries in row-major order, little-endian) and
`p` standing for a part of an earlier reply: the number of the step, then the path to the part.
"""

import base64
import sys
from dataclasses import dataclass

import torch

from grader.assignment.steps import Ref, Value
from grader.runner.protocol import Json, ProtocolError, flatten, unflatten
from grader.runner.tensors import DTYPES, NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyPart:
    """A reply of an earlier step of the same case, or an element of it.

    Attributes:
        step: number of the step, from 0.
        path: indices and keys that lead to the part; empty for the whole reply.
    """

    step: int
    path: tuple[int | str, ...] = ()


def to_json(value: Value) -> Json:
    """Return the JSON form of `value`.

    Raises:
        TypeError: if it holds something that a case cannot hand over.
    """
    return flatten(value, _encode)


def from_json(tree: Json) -> Value:
    """Return the value whose JSON form is `tree`.

    Raises:
        WireError: if `tree` is no such form.
    """
    return unflatten(tree, _decode)


def _encode(leaf: Value) -> Json:
    match leaf:
        case torch.Tensor():
            return {"t": _encode_tensor(leaf)}
        case Ref():
            return {"r": leaf.id}
        case ReplyPart():
            return {"p": [leaf.step, *leaf.path]}
        case torch.dtype() if leaf in NAMES:
            return {"y": NAMES[leaf]}
        case _:
            raise TypeError(f"a {type(leaf).__name__} cannot be recorded")


def _decode(key: str, content: Json) -> Value:
    if key == "t":
        return _decode_tensor(content)
    if key == "r" and isinstance(content, int):
        return Ref(content)
    if key == "p" and isinstance(content, list):
        return ReplyPart(step=int(content[0]), path=tuple(content[1:]))
    if key == "y" and content in DTYPES:
        return DTYPES[content]
    raise ProtocolError(f"a value of no known form: {key!r}")


def _encode_tensor(tensor: torch.Tensor) -> Json:
    if tensor.dtype not in NAMES:
        raise TypeError(f"a tensor of dtype {tensor.dtype} cannot be recorded")
    # Memory of its own: one entry is contiguous whatever its stride, and then has no view as bytes.
    flat = torch.empty(tensor.numel(), dtype=tensor.dtype)
    flat.copy_(tensor.detach().reshape(-1))
    raw = bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""
    return {
        "dtype": NAMES[tensor.dtype],
        "shape": list(tensor.shape),
        "strides": list(tensor.stride()),
        "base64": base64.b64encode(_little_endian(raw, tensor.dtype.itemsize)).decode("ascii"),
    }


def _decode_tensor(content: Json) -> torch.Tensor:
    dtype = DTYPES[content["dtype"]]
    raw = bytearray(_little_endian(base64.b64decode(content["base64"]), dtype.itemsize))
    flat = torch.frombuffer(raw, dtype=dtype).clone() if raw else torch.empty(0, dtype=dtype)
    return with_strides(flat.reshape(content["shape"]), tuple(content["strides"]))


def with_strides(tensor: torch.Tensor, strides: tuple[int, ...]) -> torch.Tensor:
    """Return a copy of `tensor` with the given strides (elements), in memory of its own.

    Entries between those of the tensor are NaN where the dtype has one, as in grading: code that
    ignores strides reads them. A dimension of stride 0 (an expanded tensor) is one entry.
    """
    if tensor.numel() == 0:
        return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype)
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, strides, strict=True))
    fill = float("nan") if tensor.dtype.is_floating_point else 0
    memory = torch.full((1 + reach,), fill, dtype=tensor.dtype)
    copy = memory.as_strided(tensor.shape, strides)
    target, source = copy, tensor.detach()
    for dimension, stride in enumerate(strides):
        if stride == 0:
            target, source = target.narrow(dimension, 0, 1), source.narrow(dimension, 0, 1)
    target.copy_(source)
    return copy


def _little_endian(raw: bytes, itemsize: int) -> bytes:
    if sys.byteorder == "little" or itemsize == 1:
        return raw
    words = (raw[i : i + itemsize] for i in range(0, len(raw), itemsize))
    return b"".join(word[::-1] for word in words)
