"""Cases of `FSDP`.

Takes: `Draw`. Gives: case makers. Does not cover: traffic and memory (see `workloads`).
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from grader.author import Call, CaseSteps, Draw, Each, Expect, New, Raises, Ref, World, case

from .inputs import (
    ADAMW,
    backward,
    float_batches,
    names,
    new_chain,
    new_gpt,
    text_batches,
    train,
)
from .oracle import OneProcess

PLAIN = ADAMW | {"weight_decay": 0.0}
"""Without decay a gradient of zeros and none at all are the same to AdamW."""


def _sharded(model: Ref, units: Sequence[str]) -> CaseSteps:
    """Put an `FSDP` around a model on every rank, and a loop around both; return both."""
    engine = yield Each(New("FSDP", model, list(units)))
    loop = yield Each(New("harness:Loop", model, engine=engine, adamw=PLAIN))
    return engine, loop


def _expect_state(engine: Ref, single: OneProcess, world: int, label: str) -> CaseSteps:
    got = yield Each(Call(engine, "full_state"))
    want = dict(zip(names(single.model), single.weights(), strict=True))
    yield Expect(got, [want] * world, label=f"full_state {label}")


def _step(loop: Ref, single: OneProcess, batches: Any) -> CaseSteps:
    yield from backward(loop, single, batches)
    yield Each(Call(loop, "update"))
    single.update()


def _single(own: nn.Module) -> OneProcess:
    return OneProcess(own, adamw=PLAIN)


@case("FSDP", "training", public=1, hidden=3)
def training(draw: Draw) -> CaseSteps:
    """Several AdamW steps over the shards of a small GPT, block by block."""
    world = (2, 3, 4)[draw.index]
    yield World(world)
    model, own = yield from new_gpt(draw, n_layers=3)
    engine, loop = yield from _sharded(model, ["blocks.0", "blocks.1", "blocks.2"])
    single = _single(own)
    yield from train(loop, single, [text_batches(draw, world) for _ in range(3)])
    yield from _expect_state(engine, single, world, "after 3 steps")


@case("FSDP", "nested", public=2, hidden=3)
def nested(draw: Draw) -> CaseSteps:
    """Units inside units: a parameter belongs to the innermost; and a unit that is called twice."""
    world = (2, 3, 4)[draw.index]
    yield World(world)
    if draw.index % 2:
        width = draw.integer(3, 6)
        model, own = yield from new_chain(draw, [width] * 4, order=[0, 1, 1, 2, 0])
        units = ["layers.0", "layers.1", "layers.2"]
        batches = float_batches(draw, world, width)
    else:
        model, own = yield from new_gpt(draw)
        units = ["blocks.0", "blocks.0.up", "blocks.1", "blocks.1.qkv", "blocks.1.norm_mlp"]
        batches = text_batches(draw, world)
    engine, loop = yield from _sharded(model, draw.shuffled(units))
    single = _single(own)
    yield from _step(loop, single, batches)
    yield from _expect_state(engine, single, world, "after a step")


@case("FSDP", "tied", public=1, hidden=2)
def tied(draw: Draw) -> CaseSteps:
    """A parameter of two units belongs to the root: both see one tensor, and its gradients add."""
    world = (2, 3)[draw.index]
    yield World(world)
    model, own = yield from new_gpt(draw, n_layers=1)
    engine, loop = yield from _sharded(model, ["embed", "blocks.0", "unembed"])
    single = _single(own)
    yield from _step(loop, single, text_batches(draw, world))
    yield from _expect_state(engine, single, world, "after a step")


@case("FSDP", "odd_sizes", public=1, hidden=3)
def odd_sizes(draw: Draw) -> CaseSteps:
    """Layers with fewer numbers than ranks, scalars, sizes that do not divide."""
    world = (4, 3, 2)[draw.index]
    widths = [draw.integer(1, 5), 1, draw.integer(2, 7), 1, 1]
    yield World(world)
    model, own = yield from new_chain(draw, widths)
    engine, loop = yield from _sharded(model, [f"layers.{n}" for n in range(4)])
    single = _single(own)
    yield from _step(loop, single, float_batches(draw, world, widths[0]))
    yield from _expect_state(engine, single, world, f"of layers of widths {widths}")


@case("FSDP", "frozen", public=1, hidden=2)
def frozen(draw: Draw) -> CaseSteps:
    """Units with frozen weights, which backward needs beyond their last gradient."""
    world = (2, 3)[draw.index]
    width = draw.integer(3, 6)
    yield World(world)
    model, own = yield from new_chain(draw, [width] * 4, frozen=[0, 1])
    engine, loop = yield from _sharded(model, ["layers.0", "layers.1", "layers.2"])
    single = _single(own)
    for _ in range(2):
        yield from _step(loop, single, float_batches(draw, world, width))
    yield from _expect_state(engine, single, world, "after 2 steps")


@case("FSDP", "evaluation", public=1, hidden=2)
def evaluation(draw: Draw) -> CaseSteps:
    """Evaluation without gradients before, between and after training steps."""
    world = (2, 4)[draw.index]
    yield World(world)
    model, own = yield from new_gpt(draw)
    _, loop = yield from _sharded(model, ["blocks.0", "blocks.1"])
    single = _single(own)
    for number in range(2):
        batches = text_batches(draw, world)
        got = yield Each(*(Call(loop, "evaluate", *own_rows) for own_rows in batches))
        want = [single.evaluate(own_rows).float() for own_rows in batches]
        yield Expect(got, want, label=f"losses in evaluation after {number} steps")
        got = yield Each(Call(loop, "has_gradients"))
        yield Expect(got, [False] * world, label="whether evaluation left gradients")
        yield from _step(loop, single, text_batches(draw, world))


@case("FSDP", "accumulation", public=1, hidden=2)
def accumulation(draw: Draw) -> CaseSteps:
    """Gradients of several passes add up on the shards."""
    world = (3, 1)[draw.index]
    width = draw.integer(3, 6)
    yield World(world)
    model, own = yield from new_chain(draw, [width] * 3)
    engine, loop = yield from _sharded(model, ["layers.0", "layers.1"])
    single = _single(own)
    yield from backward(loop, single, float_batches(draw, world, width))
    yield from _step(loop, single, float_batches(draw, world, width))
    yield from _expect_state(engine, single, world, "after a step of 2 passes")


@case("FSDP", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Units that do not exist, that are named twice, or that are the module itself."""
    yield World(2)
    for what, units in (
        ("a unit that does not exist", ["layers.0", "layers.2"]),
        ("a unit named twice", ["layers.1", "layers.1"]),
        ("the module itself as a unit", [""]),
        ("a parameter as a unit", ["layers.0.weight"]),
    ):
        model, _ = yield from new_chain(draw, [2, 3, 2])  # a refusal may come after a beginning
        yield Raises(Each(New("FSDP", model, units)), "ValueError", what)
