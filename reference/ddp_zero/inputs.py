"""What cases of several problems draw and start: models, batches, loops.

Takes: `Draw`. Gives: steps of cases and what the oracle needs beside them. Does not cover: expected
values (see `oracle`).
"""

import itertools
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import nn

from grader.author import Call, CaseSteps, Draw, Each, Expect, New, Ref, World

from .modules import Chain, Sheet
from .oracle import Batch, OneProcess
from .text import batch
from .tiny_gpt import TinyGPT

Tensor = torch.Tensor

ADAMW = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-2, "weight_decay": 0.1}
"""eps bounds how much AdamW magnifies rounding: an error e of a gradient moves a weight by at most
lr * e / eps, so that tolerances of gradients carry over to weights."""

SMALL = {"width": 16, "hidden": 27}


def new_gpt(draw: Draw, **sizes: int) -> CaseSteps:
    """Start the same small GPT on every rank; return its ref and the judge's own."""
    seed = draw.integer(1, 1 << 20)
    ref = yield Each(New("harness:TinyGPT", seed=seed, **(SMALL | sizes)))
    return ref, TinyGPT(seed=seed, **(SMALL | sizes))


def new_sheet(values: Sequence[Tensor], **keywords: Any) -> CaseSteps:
    """Start the same `Sheet` on every rank; return its ref and the judge's own."""
    ref = yield Each(New("harness:Sheet", list(values), **keywords))
    return ref, Sheet(list(values), **keywords)


def new_chain(
    draw: Draw, widths: Sequence[int], order: Sequence[int] = (), frozen: Sequence[int] = ()
) -> CaseSteps:
    """Start the same `Chain` on every rank, its last bias a scalar; return ref and own one."""
    weights = [
        draw.normal_tensor(out, inside, scale=inside**-0.5)
        for inside, out in itertools.pairwise(widths)
    ]
    biases = [draw.normal_tensor(width, scale=0.3) for width in widths[1:-1]]
    biases.append(draw.normal_tensor(scale=0.3))
    calls = list(order) or list(range(len(weights)))
    ref = yield Each(New("harness:Chain", weights, biases, calls, frozen=list(frozen)))
    return ref, Chain(weights, biases, calls, frozen=list(frozen))


def text_batches(draw: Draw, world: int, *, rows: int = 2, length: int = 12) -> list[Batch]:
    """Return a batch of `rows` rows of text for each rank, each row from a place of its own.

    The text is public: from rows in a row a rank could tell those of all others.
    """
    lines = [batch(draw.integer(0, 4000), 1, length) for _ in range(world * rows)]
    tokens, targets = (torch.cat(column) for column in zip(*lines, strict=True))
    return list(zip(tokens.split(rows), targets.split(rows), strict=True))


def float_batches(draw: Draw, world: int, columns: int, *, rows: int = 3) -> list[Batch]:
    """Return a batch of `rows` rows of normal numbers for each rank."""
    return [(draw.normal_tensor(rows, columns),) for _ in range(world)]


def backward(
    loop: Ref,
    single: OneProcess,
    batches: Sequence[Batch],
    options: Sequence[dict[str, Any]] = (),
    **keywords: Any,
) -> CaseSteps:
    """Run one backward pass on every rank with its own batch, and on the judge's side."""
    each = options or [{} for _ in batches]
    got = yield Each(
        *(
            Call(loop, "backward", *batch_of_rank, **keywords, **option)
            for batch_of_rank, option in zip(batches, each, strict=True)
        )
    )
    losses = single.backward(batches, options)
    yield Expect(got, list(losses.float()), label="loss of each rank")


def train(loop: Ref, single: OneProcess, steps: Sequence[Sequence[Batch]]) -> CaseSteps:
    """Take one step per batch on every rank, in one request, and on the judge's side."""
    world = len(steps[0])
    yield Each(*(Call(loop, "train", [step[rank] for step in steps]) for rank in range(world)))
    for step in steps:
        single.backward(step)
        single.update()


def expect_gradients(loop: Ref, single: OneProcess, world: int, label: str) -> CaseSteps:
    """Compare the gradients of every rank."""
    got = yield Each(Call(loop, "gradients"))
    yield Expect(got, [single.gradients()] * world, label=f"gradients {label}")


def expect_weights(
    loop: Ref, single: OneProcess, world: int, label: str, *, same: bool = False
) -> CaseSteps:
    """Compare the parameters of every rank, with `same` also with those of rank 0, bit for bit."""
    got = yield Each(Call(loop, "weights"))
    yield Expect(got, [single.weights()] * world, label=f"parameters {label}")
    if same:
        label = f"parameters {label}, beside those of rank 0"
        yield Expect(got, [got[0]] * world, label=label, exact=True)


def names(model: nn.Module) -> list[str]:
    """Return the names of a model's parameters."""
    return [name for name, _ in model.named_parameters()]


_STARTED: WeakSet[Draw] = WeakSet()
"""Instances whose world runs: one world plays all rows of an instance, as a world costs as much
time as several rows."""


def world_of_rows(draw: Draw, sizes: Sequence[int]) -> CaseSteps:
    """Start the world of an instance with its first row; return its number of ranks."""
    world = sizes[draw.index]
    if draw not in _STARTED:
        _STARTED.add(draw)
        yield World(world)
    return world


LAYOUTS = ("contiguous", "transposed", "every other column")


def laid_out(x: Tensor, layout: str) -> Tensor:
    """Return a tensor with the same entries, in another order in memory or with gaps."""
    if x.dim() < 2 or layout == "contiguous":
        return x
    if layout == "transposed":
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    return x.repeat_interleave(2, dim=-1)[..., ::2]
