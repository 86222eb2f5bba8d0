"""Tensors of public cases: as JSON, with the strides that they had, and overwritten.

Takes: tensors, or JSON. Gives: the other. Does not cover: other values (`trace`).
"""

import base64
import sys

import torch

from grader.runner.protocol import Json
from grader.runner.tensors import DTYPES, NAMES


def encode_tensor(tensor: torch.Tensor) -> Json:
    """Return a tensor as JSON: dtype, shape, strides and entries.

    Raises:
        TypeError: if its dtype is none that may travel.
    """
    if tensor.dtype not in NAMES:
        raise TypeError(f"a tensor of dtype {tensor.dtype} cannot be recorded")
    # New memory: a single entry counts as contiguous whatever its stride, but has no byte view.
    flat = torch.empty(tensor.numel(), dtype=tensor.dtype)
    flat.copy_(tensor.detach().reshape(-1))
    raw = bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""
    return {
        "dtype": NAMES[tensor.dtype],
        "shape": list(tensor.shape),
        "strides": list(tensor.stride()),
        "base64": base64.b64encode(_little_endian(raw, tensor.dtype.itemsize)).decode("ascii"),
    }


def decode_tensor(content: Json) -> torch.Tensor:
    """Return the tensor that `encode_tensor` made JSON of, in new memory."""
    dtype = DTYPES[content["dtype"]]
    raw = bytearray(_little_endian(base64.b64decode(content["base64"]), dtype.itemsize))
    flat = torch.frombuffer(raw, dtype=dtype).clone() if raw else torch.empty(0, dtype=dtype)
    return with_strides(flat.reshape(content["shape"]), tuple(content["strides"]))


def with_strides(tensor: torch.Tensor, strides: tuple[int, ...]) -> torch.Tensor:
    """Return a copy of `tensor` with the given strides (in elements), in new memory.

    Entries between those of the tensor are NaN where the dtype has one, as in grading: code that
    ignores strides reads them.
    """
    if tensor.numel() == 0:
        return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype)
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, strides, strict=True))
    fill = float("nan") if tensor.dtype.is_floating_point else 0
    memory = torch.full((1 + reach,), fill, dtype=tensor.dtype)
    copy = memory.as_strided(tensor.shape, strides)
    distinct_entries(copy, strides).copy_(distinct_entries(tensor.detach(), strides))
    return copy


def distinct_entries(tensor: torch.Tensor, strides: tuple[int, ...]) -> torch.Tensor:
    """Return a view that has one entry in each dimension of stride 0, as of an expanded tensor."""
    return tensor[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in strides)]


def overwrite(tensor: torch.Tensor) -> None:
    """Fill a tensor with other values, as a caller that reuses its buffers would."""
    # Filling every entry once keeps expanded tensors, whose entries overlap, writable.
    entries = distinct_entries(tensor, tensor.stride())
    entries.fill_(1 if tensor.dtype is torch.bool else 77)


def _little_endian(raw: bytes, itemsize: int) -> bytes:
    if sys.byteorder == "little" or itemsize == 1:
        return raw
    words = (raw[i : i + itemsize] for i in range(0, len(raw), itemsize))
    return b"".join(word[::-1] for word in words)
