"""Cases of `DDP`: `average_gradients` and the class with buckets.

Takes: `Draw`. Gives: case makers. Does not cover: traffic and time (see `workloads`).
"""

from collections.abc import Sequence
from typing import Any

import torch

from grader.author import Call, CaseSteps, Draw, Each, New, Raises, Ref, World, case

from .inputs import (
    ADAMW,
    backward,
    expect_gradients,
    expect_weights,
    float_batches,
    new_gpt,
    new_sheet,
    text_batches,
    train,
)
from .oracle import OneProcess

Tensor = torch.Tensor


def _sheet_values(draw: Draw, sizes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    return [draw.normal_tensor(*size, scale=0.5) for size in sizes]


def _wrapped(model: Ref, bucket_bytes: int, **keywords: Any) -> CaseSteps:
    """Put a `DDP` around a model on every rank, and a loop around both."""
    engine = yield Each(New("DDP", model, bucket_bytes=bucket_bytes))
    loop = yield Each(New("harness:Loop", model, engine=engine, **keywords))
    return loop


@case("DDP", "flat", public=2, hidden=3)
def flat(draw: Draw) -> CaseSteps:
    """`average_gradients` after backward: the mean, None where no rank has a gradient."""
    world = (3, 4, 1)[draw.index]
    yield World(world)
    if draw.index % 2:
        values = [*_sheet_values(draw, [(3, 5), (7,), (2,)]), draw.normal_tensor(4).double()]
        model, own = yield from new_sheet(values, frozen=[1])
        batches = float_batches(draw, world, 6)
        options: list[dict[str, Any]] = [{"used": [0, 1, 3]} for _ in range(world)]
        options[-1] = {"used": [1, 3]}
    else:
        model, own = yield from new_gpt(draw)
        batches, options = text_batches(draw, world), []
    loop = yield Each(New("harness:Loop", model))
    single = OneProcess(own)
    yield from backward(loop, single, batches, options)
    yield Each(Call("average_gradients", model))
    yield from expect_gradients(loop, single, world, "after average_gradients")


@case("DDP", "buckets", public=1, hidden=4)
def buckets(draw: Draw) -> CaseSteps:
    """Parameters of odd sizes in buckets that end where they like; one larger than its bucket."""
    world = (3, 4, 2, 1)[draw.index]
    sizes = [(draw.integer(1, 9), draw.integer(1, 9)) for _ in range(draw.integer(5, 8))]
    sizes.insert(draw.integer(0, 5), (31, 37))
    yield World(world)
    values = _sheet_values(draw, sizes)
    model, own = yield from new_sheet(values, frozen=[2])
    bucket_bytes = (700, 1, 1 << 20, 5000)[draw.index]
    loop = yield from _wrapped(model, bucket_bytes)
    single = OneProcess(own)
    yield from backward(loop, single, float_batches(draw, world, 11))
    label = f"with buckets of {bucket_bytes} bytes"
    yield from expect_gradients(loop, single, world, label)


@case("DDP", "mixed_dtypes", public=1, hidden=2)
def mixed_dtypes(draw: Draw) -> CaseSteps:
    """Parameters of three dtypes in turns: each keeps the precision and the dtype it has."""
    world = (3, 4)[draw.index]
    dtypes = [torch.float32, torch.float64, torch.bfloat16] * 2
    values = [
        draw.normal_tensor(draw.integer(4, 9), draw.integer(5, 6), scale=0.5).to(dtype)
        for dtype in draw.shuffled(dtypes)
    ]
    yield World(world)
    model, own = yield from new_sheet(values)
    loop = yield from _wrapped(model, 300)
    single = OneProcess(own)
    yield from backward(loop, single, float_batches(draw, world, 7))
    yield from expect_gradients(loop, single, world, "of three dtypes")


@case("DDP", "unused", public=1, hidden=3)
def unused(draw: Draw) -> CaseSteps:
    """Parameters that no rank used keep None; what some ranks used becomes the mean over all.

    The ranks fill their buckets in different orders; weight decay moves nothing that is unused. In
    the second step rank 0 uses everything.
    """
    world = (2, 3, 4)[draw.index]
    sizes = [(draw.integer(2, 6), draw.integer(2, 6)) for _ in range(7)]
    nowhere = draw.integer(0, 6)
    others = [number for number in range(7) if number != nowhere]
    options = []
    for rank in range(world):
        left_out = {others[(rank * 2 + draw.index) % 6], others[(rank * 2 + 1) % 6]}
        options.append({"used": [number for number in others if number not in left_out]})
    yield World(world)
    model, own = yield from new_sheet(_sheet_values(draw, sizes))
    loop = yield from _wrapped(model, 150, adamw=ADAMW)
    single = OneProcess(own, adamw=ADAMW)
    yield from backward(loop, single, float_batches(draw, world, 5), options)
    yield from expect_gradients(loop, single, world, "where ranks use different parameters")
    yield Each(Call(loop, "update"))
    single.update()
    yield from expect_weights(loop, single, world, "after a step")
    options[0] = {"used": list(range(7))}
    yield from backward(loop, single, float_batches(draw, world, 5), options)
    yield from expect_gradients(loop, single, world, "where rank 0 uses all")


@case("DDP", "accumulation", public=1, hidden=3)
def accumulation(draw: Draw) -> CaseSteps:
    """Several backward passes in `no_sync()`, then one that synchronises what all have added up.

    One parameter takes part in the first pass alone. Each context holds another, which an exception
    ends, and so ends one before the last pass.
    """
    world, passes = (2, 3, 4)[draw.index], draw.integer(2, 3)
    sizes = [(draw.integer(2, 6), draw.integer(2, 6)) for _ in range(5)]
    first_only = draw.integer(0, 4)
    without = {"used": [number for number in range(5) if number != first_only]}
    yield World(world)
    model, own = yield from new_sheet(_sheet_values(draw, sizes))
    loop = yield from _wrapped(model, 120)
    single = OneProcess(own)
    for number in range(passes):
        batches = float_batches(draw, world, 5)
        options = [without] * world if number else []
        if number == passes - 1:
            yield Each(Call(loop, "interrupt"))
        yield from backward(loop, single, batches, options, sync=number == passes - 1)
    yield from expect_gradients(loop, single, world, f"of {passes} passes")


@case("DDP", "training", public=1, hidden=3)
def training(draw: Draw) -> CaseSteps:
    """Several AdamW steps of a small GPT: tied embeddings, frozen positions, an unused branch."""
    world = (2, 4, 3)[draw.index]
    yield World(world)
    model, own = yield from new_gpt(draw)
    loop = yield from _wrapped(model, (17_000, 20_000, 24_000)[draw.index], adamw=ADAMW)
    single = OneProcess(own, adamw=ADAMW)
    yield from train(loop, single, [text_batches(draw, world) for _ in range(4)])
    yield from expect_weights(loop, single, world, "after 4 steps")


@case("DDP", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Buckets of no bytes and modules with nothing to train raise ValueError."""
    values = _sheet_values(draw, [(2, 2), (3,)])
    yield World(2)
    model, _ = yield from new_sheet(values)
    frozen, _ = yield from new_sheet(values, frozen=[0, 1])
    for size in (0, -1):
        step = Each(New("DDP", model, bucket_bytes=size))
        yield Raises(step, "ValueError", f"buckets of {size} bytes")
    yield Raises(Each(New("DDP", frozen)), "ValueError", "a module without a trained parameter")
