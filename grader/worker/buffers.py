"""Memory that judge and worker share on the processor: arguments of a call, and replies.

The arguments of each call are in a memory file of their own, so that the worker may keep them;
replies are in one file per worker. Both are sealed against resizing: a truncated mapping would end
the judge with SIGBUS. The bytes of a reply are copied once, while the worker is frozen, and only
the copy is used: what the worker writes later has no effect. Descriptors and headers go through the
socket (see `worker.channel`).
"""

import abc
import ctypes
import math
import mmap
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import torch

from grader.errors import ChannelError, DeviceError
from grader.evidence.faults import Fault, our_fault
from grader.runner.tensors import (
    DTYPES,
    MAX_DIMENSIONS,
    NAMES,
    Memory,
    TensorHeader,
    align,
    map_memory,
    view,
)
from grader.sandbox.meter import Usage


class Arguments(Protocol):
    """The tensors of one call, in memory that the worker maps as well."""

    @property
    def headers(self) -> list[TensorHeader]:
        """Where each tensor is."""

    @property
    def fd(self) -> int:
        """The descriptor that the worker maps the memory by."""

    def unchanged(self) -> bool:
        """Return whether every byte is as it was sent."""

    def overwrite(self) -> None:
        """Overwrite every tensor, as a caller that reuses its buffers would."""

    def reclaim(self) -> None:
        """Take every byte back; what the worker touches again counts as the worker's memory.

        Raises:
            ChannelError: if Linux refuses.
        """

    def close(self) -> None:
        """Release the memory; the worker keeps its own mapping."""


class Replies(abc.ABC):
    """Where one worker's reply tensors arrive; the worker maps the memory by `fd`."""

    fd: int

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    def read(self, form: Any, limit_bytes: int | None = None) -> torch.Tensor:  # noqa: ANN401 - a claimed header
        """Copy the tensor under a claimed header into private memory.

        Raises:
            ChannelError: if the header is malformed, reaches outside the memory, or needs more than
                `limit_bytes` (default: the whole memory).
            DeviceError: if the memory is a device's, and its driver refuses.
        """
        header = _check_header(form, self._size_bytes, limit_bytes)
        out = torch.empty(header.shape, dtype=DTYPES[header.dtype])
        raw = self._copied(header)
        if raw:
            out.copy_(torch.frombuffer(raw, dtype=out.dtype).view(header.shape))
        return out

    @abc.abstractmethod
    def _copied(self, header: TensorHeader) -> bytearray:
        """Return a private copy of the bytes under a header that has been checked."""


_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # FALLOC_FL_* in linux/falloc.h


def _fallocate(fd: int, mode: int, offset: int, length: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


def make_memory_file(size_bytes: int) -> int:
    """Return the descriptor of a memory file of `size_bytes` that nobody can resize."""
    size_bytes = max(size_bytes, mmap.PAGESIZE)
    if sys.platform != "linux":  # an unconfined run: there are no seals
        with tempfile.TemporaryFile() as file:
            file.truncate(size_bytes)
            return os.dup(file.fileno())
    import fcntl

    fd = os.memfd_create("grader", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size_bytes)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


class ArgumentMemory:
    """The tensors of one call, in memory that the worker maps as well."""

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        self.headers, size_bytes = lay_out(tensors)
        self.fd = make_memory_file(size_bytes)
        self._map = map_memory(self.fd, populate=True)
        write_tensors(self._map, self.headers, tensors)
        self._sent = bytes(self._map)

    def unchanged(self) -> bool:
        """Return whether every byte is as it was sent."""
        return os.pread(self.fd, len(self._sent), 0) == self._sent

    def overwrite(self) -> None:
        """Overwrite every tensor, as a caller that reuses its buffers would."""
        overwrite_tensors(self._map, self.headers)

    def reclaim(self) -> None:
        """Free every page: mappings read zeros, and whoever touches a page again is charged for it.

        Raises:
            ChannelError: if Linux refuses.
        """
        if sys.platform != "linux":
            self._map[:] = bytes(len(self._map))  # an unconfined run counts no memory
            return
        whole = align(os.fstat(self.fd).st_size, mmap.PAGESIZE)  # else the last page would stay
        if _fallocate(self.fd, _PUNCH_HOLE | _KEEP_SIZE, 0, whole):
            raise ChannelError(f"cannot take memory back: {os.strerror(ctypes.get_errno())}")

    def close(self) -> None:
        """Release the memory; the worker keeps its own mapping."""
        os.close(self.fd)


class ReplyMemory(Replies):
    """Where the reply tensors of a worker on the processor arrive."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self.fd = make_memory_file(size_bytes)

    def close(self) -> None:
        """Release the memory."""
        os.close(self.fd)

    def _copied(self, header: TensorHeader) -> bytearray:
        raw = bytearray(header.span_bytes)
        if header.span and os.preadv(self.fd, [raw], header.offset) != len(raw):
            raise ChannelError("a reply tensor ends outside the reply memory")
        return raw


Ask = Callable[[dict[str, Any], tuple[int, ...]], Any]
"""Sends a request with its descriptors, and returns the value of the reply."""


class WorkerMemory:
    """What one worker's calls need of memory: memory files, for a worker on the processor.

    A device's memory replaces every method.
    """

    def __init__(self, replies: Replies) -> None:
        self._replies = replies

    def make_arguments(self, tensors: list[torch.Tensor]) -> Arguments:
        """Return the tensors of one call, written into memory that the worker can map."""
        return ArgumentMemory(tensors)

    def read(self, form: Any, left_bytes: int) -> torch.Tensor:  # noqa: ANN401 - a claimed header
        """Copy a reply's tensor of at most `left_bytes`; see `Replies.read`."""
        return self._replies.read(form, left_bytes)

    def begin(self, ask: Ask, take_output: Callable[[], str]) -> None:
        """Let the worker map the memory for replies, unless it has: here it has since its fork.

        Raises:
            SandboxError: if the worker cannot.
        """

    def limit(self, limit_bytes: int) -> int:
        """Leave the worker at most `limit_bytes` more of the device; return what is left.

        Raises:
            DeviceError: if there is no device, or it refuses.
        """
        raise DeviceError(f"no device whose memory could be limited to {limit_bytes} bytes")

    def release(self) -> None:
        """Lift the limit.

        Raises:
            DeviceError: if the device refuses.
        """

    def observe(self) -> None:
        """Note how much of the device the worker holds; it has just been frozen."""

    def counted(self, used: Usage) -> Usage:
        """Return what the worker has used, with the memory that is counted here."""
        return used

    def check(self) -> None:
        """Ask the device whether it still works.

        Raises:
            DeviceError: if it does not.
        """

    def fault_of(self, error: DeviceError) -> Fault:
        """Return whose fault it is that the device refused the judge."""
        return our_fault(error)

    def is_usable_after(self, reply: dict[str, Any]) -> bool:
        """Return whether a worker that sent this reply can be asked again."""
        return True


def _check_header(form: Any, size_bytes: int, limit_bytes: int | None) -> TensorHeader:  # noqa: ANN401 - a claimed header
    """Return the header that a worker claims, checked against a memory of `size_bytes`.

    Raises:
        ChannelError: if it is malformed, reaches outside, or needs more than `limit_bytes`.
    """
    if not isinstance(form, dict) or form.get("dtype") not in NAMES.values():
        raise ChannelError("a reply tensor of unknown dtype")
    shape = form.get("shape")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise ChannelError("a reply tensor without a shape")
    if not all(type(n) is int and 0 <= n <= size_bytes for n in shape):
        raise ChannelError("a reply tensor with an impossible shape")
    offset = form.get("offset")
    if type(offset) is not int or offset < 0 or offset % DTYPES[form["dtype"]].itemsize:
        raise ChannelError("a reply tensor at an impossible offset")
    count = math.prod(shape)
    if offset + count * DTYPES[form["dtype"]].itemsize > size_bytes:
        raise ChannelError("a reply tensor that is larger than the reply memory")
    if math.prod(max(n, 1) for n in shape) > size_bytes:  # empty, with strides too far
        raise ChannelError("a reply tensor with an impossible shape")
    header = TensorHeader(
        dtype=form["dtype"], shape=tuple(shape), strides=_contiguous(shape), offset=offset
    )
    if limit_bytes is not None and header.span_bytes > limit_bytes:
        raise ChannelError("reply tensors that are larger together than the reply memory")
    return header


def _contiguous(shape: list[int]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def lay_out(tensors: list[torch.Tensor]) -> tuple[list[TensorHeader], int]:
    """Return where tensors go in one memory, with their strides and gaps, and its size in bytes."""
    headers: list[TensorHeader] = []
    end = 0
    for tensor in tensors:
        header = TensorHeader(
            dtype=NAMES[tensor.dtype],
            shape=tuple(tensor.shape),
            strides=tuple(tensor.stride()),
            offset=align(end),
        )
        end = header.offset + header.span_bytes
        headers.append(header)
    return headers, end


def write_tensors(memory: Memory, headers: list[TensorHeader], tensors: list[torch.Tensor]) -> None:
    """Copy tensors to where their headers say, with NaN in what only a wrong stride would read."""
    for header, tensor in zip(headers, tensors, strict=True):
        if DTYPES[header.dtype].is_floating_point:
            _flat(memory, header).fill_(math.nan)
        target = view(memory, header)
        for dimension, stride in enumerate(tensor.stride()):
            if stride == 0 and tensor.shape[dimension] > 1:  # an expanded dimension is one entry
                target = target.narrow(dimension, 0, 1)
                tensor = tensor.narrow(dimension, 0, 1)
        target.copy_(tensor)


def overwrite_tensors(memory: Memory, headers: list[TensorHeader]) -> None:
    """Overwrite tensors and their gaps, as a caller that reuses its buffers would."""
    for header in headers:
        _flat(memory, header).fill_(1 if header.dtype == "bool" else 77)


def _flat(memory: Memory, header: TensorHeader) -> torch.Tensor:
    """Return everything from a tensor's first element to its last, gaps included."""
    return view(memory, replace(header, shape=(header.span,), strides=(1,)))
