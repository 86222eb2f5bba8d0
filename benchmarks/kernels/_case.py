"""What a benchmark file describes: a case, its contenders, its goals.

Takes: nothing. Gives: the records, and `Bench`, with which a file makes its tensors and contenders.
Does not cover: running them (`_rounds`, `_report`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import NoReturn, TypeVar

import torch
import torch._functorch.config as functorch

from benchmarks.kernels._device import Call, Device
from benchmarks.kernels._load import load_kernels

OURS = "kernel"
COPY = "copy"
"""The contender that every case has besides its own: a copy of a large tensor."""

Size = TypeVar("Size")
Result = TypeVar("Result")


def refuse(*_: object) -> NoReturn:
    """Refuse.

    Raises:
        RuntimeError: always; a rival that is not for this device.
    """
    raise RuntimeError("torch.compile is a rival on a GPU only")


def nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to do the work of a case.

    Attributes:
        name: in tables.
        call: does it, and returns what is compared with the others.
        prepare: is called before, off the clock; for work that overwrites its input.
    """

    name: str
    call: Call
    prepare: Callable[[], object] = nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the project wants of a case.

    Attributes:
        against: a rival's name, for a ratio of times; or `COPY`, for a ratio of bandwidths.
        at_least: that ratio.
    """

    against: str
    at_least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One operation at one size.

    Attributes:
        shape: in words; names the case within its operation.
        bytes_moved: what must cross device memory, by the kernel's file.
        flops: operations, by the kernel's file.
        contenders: the kernel, named `OURS`, first; then its rivals.
        goals: on times.
        memory_limits: bytes that the kernel may hold at most beyond its arguments; one or none.
        tolerance: how far a rival's result may be from the kernel's, relative to its largest
            element. It finds a kernel that does not do the work; tests say whether it is right.
    """

    shape: str
    bytes_moved: int
    flops: int
    contenders: tuple[Contender, ...]
    goals: tuple[Goal, ...] = ()
    memory_limits: tuple[int, ...] = ()
    tolerance: float = 0.02


Cases = Sequence[Callable[[], Case]]
"""Cases not yet made: the tensors of one are gone before those of the next are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a benchmark file works with.

    Attributes:
        device: where.
    """

    device: Device

    def load(self, stem: str) -> ModuleType:
        """Return the module of a kernel, for this device."""
        return load_kernels(stem, interpreted=self.device.kind == "cpu")

    def each(
        self, make: Callable[["Bench", Size], Case], full: Sequence[Size], *, tiny: Sequence[Size]
    ) -> Cases:
        """Return what makes the case of each size: tiny ones where times mean nothing."""
        return tuple(partial(make, self, size) for size in (full if self.device.counts else tiny))

    def draw(self, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return normal numbers on the device, in half precision unless a dtype is given."""
        return torch.randn(shape, device=self.device.kind, dtype=dtype or self.device.half)

    def ours(self, call: Call, prepare: Callable[[], object] = nothing) -> Contender:
        """Return the kernel as a contender."""
        return Contender(name=OURS, call=call, prepare=prepare)

    def compile(self, work: Callable[..., Result]) -> Callable[..., Result]:
        """Return what torch.compile makes of some work, for fixed shapes.

        On the processor a function that refuses: a C++ compiler's output against an interpreter
        would say nothing.
        """
        if self.device.counts:
            functorch.donated_buffer = False  # else a graph cannot be kept for a second backward
            return torch.compile(work, dynamic=False)
        return refuse


def dtype_name(dtype: torch.dtype) -> str:
    """Return the short name of a dtype."""
    names = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
    return names[dtype]
