"""Inputs that several cases share: parameters with an optimizer in the sandbox, gradients.

Takes: a case's `Draw`. Gives: tensors, objects in the sandbox. Does not cover: expected values.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch

from grader.assignment.steps import Ref, Step, Value
from grader.author import Call, Draw, New

from .oracle import Momentum

Tensor = torch.Tensor

BROKEN = (math.inf, -math.inf, math.nan)
"""What an overflow leaves in a gradient."""


def whole(draw: Draw, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return small whole numbers, which every dtype holds exactly, also after a few halvings."""
    return draw.integer_tensor(*shape, low=-15, high=15).to(dtype)


def shapes(draw: Draw, count: int) -> list[tuple[int, ...]]:
    """Return shapes of parameters: a scalar, one entry, no entry, and odd ones."""
    fixed: list[tuple[int, ...]] = [(), (1,), (0, 3)]
    drawn = [(draw.integer(1, 5), draw.integer(2, 7)) for _ in range(max(count - 3, 1))]
    return draw.shuffled([*fixed, *drawn])[:count]


def strided(draw: Draw, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Return normal numbers; a matrix is the transpose of one, unless a dimension has one entry.

    The stride of such a dimension means nothing, and torch refuses to copy between two views of
    the same numbers that differ in it: the handout promises the stride of a contiguous tensor.

    A single number is not near 0: errors are relative to the largest of a tensor, and a small
    difference of two numbers would be its only one.
    """
    if len(shape) == 2 and 1 not in shape:
        return draw.normal_tensor(*shape[::-1], dtype=dtype).T
    if shape in ((), (1,)):
        return (draw.uniform_tensor(*shape, low=0.5, high=1.5) * draw.choice((1.0, -1.0))).to(dtype)
    return draw.normal_tensor(*shape, dtype=dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Parameters and their optimizer in the sandbox, and the same in the judge's float64.

    Attributes:
        params: the harness's `Parameters`.
        optimizer: the harness's `Momentum`.
        model: what it should do.
    """

    params: Ref
    optimizer: Ref
    model: Momentum


def new_side(values: Sequence[Tensor]) -> Generator[Step, Value, Side]:
    """Make parameters and an optimizer over them in the sandbox."""
    params = yield New("harness:Parameters", list(values))
    optimizer = yield New("harness:Momentum", params)
    return Side(params=params, optimizer=optimizer, model=Momentum(values))


def give(side: Side, gradients: Sequence[Tensor | None]) -> Call:
    """Return the step that gives the parameters their gradients."""
    return Call(side.params, "set_gradients", list(gradients))


def broken(draw: Draw, gradients: Sequence[Tensor | None], value: float) -> list[Tensor | None]:
    """Return gradients in which one entry of one of them is `value`."""
    copied = [None if g is None else g.clone() for g in gradients]
    able = [g for g in copied if g is not None and g.numel()]
    chosen = draw.choice(able)
    chosen.view(-1)[draw.integer(0, chosen.numel() - 1)] = value
    return copied


LAYOUTS = ("contiguous", "transposed", "every other column")


def laid_out(x: Tensor, layout: str) -> Tensor:
    """Return the same numbers in another order in memory.

    Dimensions of one entry keep their usual strides, and so does what has a single dimension and is
    to be transposed.
    """
    if x.dim() == 0 or 1 in x.shape or layout == "contiguous":
        return x.contiguous()
    if layout == "transposed":
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    return x.repeat_interleave(2, dim=-1)[..., ::2]


def far_from_ties(x: Tensor) -> bool:
    """Return whether no entry, float64, lies so near the middle of two bfloat16 that 2^-18 decides.

    So the result of one rounding is the same for all who have the number to float32's precision.
    """
    return torch.equal((x * (1 + 2.0**-18)).bfloat16(), (x * (1 - 2.0**-18)).bfloat16())
