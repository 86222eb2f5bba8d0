"""Tensors in memory that the judge made: arguments are views of it, replies are copied into it.

The memory is a sealed memory file, or memory of a device. A header says where a tensor lies in it.
The judge checks every header that it receives (see `worker.buffers`). Contents are native-endian.
"""

import mmap
import os
from dataclasses import asdict, dataclass
from typing import Any

import torch

from .protocol import Unsendable

ALIGNMENT_BYTES = 64
MAX_DIMENSIONS = 16
MAX_TENSORS = 4096
"""Tensors of one reply."""

DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in (
        "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 "
        "float8_e4m3fn float8_e5m2"
    ).split()
}
NAMES: dict[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorHeader:
    """Where in a memory file a tensor lies, and its dtype, shape and strides.

    Attributes:
        dtype: name of the dtype, without `torch.`.
        strides: elements to skip per dimension.
        offset: bytes from the start of the file to the first element.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @property
    def span(self) -> int:
        """Number of elements from the first to the last that the tensor touches, inclusive."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))

    @property
    def span_bytes(self) -> int:
        """Bytes from the first to the last element that the tensor touches."""
        return self.span * DTYPES[self.dtype].itemsize

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the header."""
        return asdict(self)

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> "TensorHeader":
        """Return the header whose JSON form is `form`, which must come from the judge."""
        lists = {name: tuple(form[name]) for name in ("shape", "strides")}
        return cls(dtype=form["dtype"], offset=form["offset"], **lists)


Memory = mmap.mmap | bytearray | torch.Tensor
"""A tensor holds the bytes of a device's memory (see `runner.cuda.memory`)."""


def align(offset: int, step: int = ALIGNMENT_BYTES) -> int:
    """Return the next multiple of `step`."""
    return -(-offset // step) * step


def map_memory(fd: int, *, populate: bool) -> mmap.mmap:
    """Map a whole memory file, shared and writable; `populate` touches its pages now."""
    flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if populate else 0)
    return mmap.mmap(fd, os.fstat(fd).st_size, flags=flags)


def view(memory: Memory, header: TensorHeader) -> torch.Tensor:
    """Return the tensor that lies in `memory` under `header`, without a copy."""
    dtype = DTYPES[header.dtype]
    if header.span == 0:
        device = memory.device if isinstance(memory, torch.Tensor) else None
        return torch.empty_strided(header.shape, header.strides, dtype=dtype, device=device)
    if isinstance(memory, torch.Tensor):
        flat = memory[header.offset : header.offset + header.span_bytes].view(dtype)
    else:
        flat = torch.frombuffer(memory, dtype=dtype, count=header.span, offset=header.offset)
    return flat.as_strided(header.shape, header.strides)


def plain_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor, or one of a subclass such as `Parameter`, as a plain one without a gradient.

    Raises:
        Unsendable: if it has a dtype or dimensions that cannot travel, or no strided memory.
    """
    kind = type(tensor)
    if kind not in (torch.Tensor, torch.nn.Parameter):
        # Otherwise the subclass would be asked, `tensor.dtype` included.
        with torch._C.DisableTorchFunctionSubclass():
            tensor = tensor.as_subclass(torch.Tensor)
        if (
            type(tensor) is not torch.Tensor
        ):  # a tensor of torch._subclasses, which holds no numbers
            raise Unsendable(f"a value of type {kind.__module__}.{kind.__qualname__}")
    if tensor.dtype not in NAMES:
        raise Unsendable(f"a tensor of dtype {tensor.dtype}")
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_nested:
        where = "meta" if tensor.is_meta else "nested" if tensor.is_nested else str(tensor.layout)
        raise Unsendable(f"a tensor without plain memory ({where})")
    if tensor.dim() > MAX_DIMENSIONS:
        raise Unsendable(f"a tensor of more than {MAX_DIMENSIONS} dimensions")
    return tensor.detach()


class ReplyTooLarge(Unsendable):
    """A reply needs more bytes, or has more tensors, than the judge reads."""


class ReplyWriter:
    """Copies the tensors of one reply, contiguously, into the reply memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._end = 0
        self.headers: list[TensorHeader] = []

    def put(self, tensor: torch.Tensor) -> int:
        """Copy `tensor` and return its index among the headers.

        Raises:
            ReplyTooLarge: if it does not fit.
            Unsendable: if such a tensor cannot travel.
        """
        tensor = plain_tensor(tensor)
        if len(self.headers) == MAX_TENSORS:
            raise ReplyTooLarge(f"a reply of more than {MAX_TENSORS} tensors")
        contiguous = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        header = TensorHeader(
            dtype=NAMES[tensor.dtype],
            shape=tuple(tensor.shape),
            strides=tuple(contiguous.stride()),
            offset=align(self._end),
        )
        self._end = header.offset + header.span_bytes
        if self._end > len(self._memory):
            raise ReplyTooLarge(f"a reply of {self._end} bytes, limit {len(self._memory)}")
        if header.span:
            view(self._memory, header).copy_(tensor)
        self.headers.append(header)
        return len(self.headers) - 1
