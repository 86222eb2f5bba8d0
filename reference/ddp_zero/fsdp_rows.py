"""The wide case of `FSDP`: units, calls, frozen and shared parameters, passes, what was before.

Takes: `Draw`, rows of factors. Gives: a case maker. Does not cover: worlds, which a row does not
choose (an instance plays its rows in one).
"""

from collections.abc import Sequence
from typing import Any

import torch

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Each,
    Excluded,
    Expect,
    Factors,
    New,
    Ref,
    Row,
    case,
)

from .inputs import backward, float_batches, names, world_of_rows
from .modules import Chain
from .oracle import OneProcess

Tensor = torch.Tensor

PLAIN = {"lr": 0.1}
"""To plain SGD a gradient of zeros and none at all are the same, at any time."""

DECAY = {"lr": 0.1, "weight_decay": 0.2}
"""Moves what has a gradient of zeros: only a frozen parameter may have none."""

LAYERS = 4
ORDERS = {
    "each once": [0, 1, 2, 3],
    "one twice": [0, 1, 2, 1, 3],
    "one not at all": [0, 2, 3],
    "fewer in evaluation": [0, 1, 2, 3],
}
FEWER = {"order": [0, 3, 2]}
"""It begins as the pass before: a guess what follows is wrong."""
UNITS = {
    "each layer": [f"layers.{number}" for number in range(LAYERS)],
    "a unit in a unit": ["layers.0", "layers.1.scale", "layers.1", "layers.3.scale"],
    "one layer": ["layers.1"],
    "none": [],
}

FSDP_ROWS = Factors(
    "FSDP",
    {
        "units": tuple(UNITS),
        "calls": tuple(ORDERS),
        "frozen": ("nothing", "two weights", "a layer"),
        "a shared weight": (False, True),
        "an unused parameter": (False, True),
        "width": (5, 1, 24),
        "dtype": (torch.float32, torch.float64, "64 bits, scales of 32"),
        "passes": ("one", "two", "two, an evaluation between", "one, an evaluation behind"),
        "before": ("nothing", "a step", "an evaluation", "gradients that were cleared"),
    },
    excluded=(
        Excluded(
            "what follows from scales that were rounded to 32 bits is not exact to 64",
            lambda row: row["dtype"] == "64 bits, scales of 32" and row["before"] == "a step",
        ),
    ),
    strength=2,
    reason="a row asks every rank some ten times, for up to two steps; triples are 60 rows",
)


def _model(draw: Draw, row: Row) -> CaseSteps:
    """Start the chain that a row describes; return its ref and the judge's own."""
    width, both = row["width"], row["dtype"] == "64 bits, scales of 32"
    dtype = torch.float64 if both else row["dtype"]

    def numbers(*size: int, scale: float) -> list[Tensor]:
        return [draw.normal_tensor(*size, scale=scale).to(dtype) for _ in range(LAYERS)]

    weights, biases = numbers(width, width, scale=width**-0.5), numbers(width, scale=0.3)
    biases[2] = biases[2][0]  # of no dimensions: fewer numbers than ranks
    scales = [x.float() if both else x for x in numbers(width, scale=1.0)]
    frozen = {"nothing": [], "two weights": [0, 2], "a layer": [1]}[row["frozen"]]
    keywords: dict[str, Any] = {
        "frozen": frozen,
        "frozen_biases": [1] if row["frozen"] == "a layer" else [],
        "shared": [(0, 3)] if row["a shared weight"] else [],
        "scales": {number: scales[number] for number in (1, 3)},
        "spares": [1] if row["an unused parameter"] else [],
    }
    order = ORDERS[row["calls"]]
    ref = yield Each(New("harness:Chain", weights, biases, order, **keywords))
    return ref, Chain(weights, biases, order, **keywords)


def _whole(single: OneProcess) -> list[tuple[str, Tensor]]:
    copies = [weight.clone() for weight in single.weights()]
    return list(zip(names(single.model), copies, strict=True))


def _evaluate(
    loop: Ref, single: OneProcess, batches: Sequence[Any], options: dict[str, Any]
) -> CaseSteps:
    got = yield Each(*(Call(loop, "evaluate", *own_rows, **options) for own_rows in batches))
    want = [single.evaluate(own_rows, options).float() for own_rows in batches]
    yield Expect(got, want, label="losses in evaluation")


def _expect_the_end(
    loop: Ref, world: int, whole: list[tuple[str, Tensor]], kept: dict[str, Tensor]
) -> CaseSteps:
    """Compare what the shards come to, and what was kept before they were stepped."""
    got = yield Each(Call(loop, "whole"))
    label = "full_state after the step, in the order of named_parameters"
    yield Expect(got, [whole] * world, label=label)
    got = yield Each(Call(loop, "has_same_shards"))
    yield Expect(got, [True] * world, label="whether shards returns the same tensors again")
    got = yield Each(Call(loop, "kept"))
    yield Expect(got, [kept] * world, label="full_state from before the step")


@case("FSDP", "combinations", public=2, hidden=4, factors=FSDP_ROWS)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: units, calls, frozen, shared, dtypes, passes, what was before."""
    world = yield from world_of_rows(draw, (3, 2, 2, 1))
    model, own = yield from _model(draw, row)
    engine = yield Each(New("FSDP", model, draw.shuffled(UNITS[row["units"]])))
    unused = row["an unused parameter"] or row["calls"] == "one not at all"
    sgd = PLAIN if unused else DECAY
    loop = yield Each(New("harness:Loop", model, engine=engine, sgd=sgd))
    single = OneProcess(own, sgd=sgd)
    fewer = FEWER if row["calls"] == "fewer in evaluation" else {}

    def one_pass() -> CaseSteps:
        batches = float_batches(draw, world, row["width"])
        yield from backward(loop, single, batches)

    def evaluation(options: dict[str, Any]) -> CaseSteps:
        batches = float_batches(draw, world, row["width"])
        yield from _evaluate(loop, single, batches, options)

    def update() -> CaseSteps:
        yield Each(Call(loop, "update"))
        single.update()

    if row["before"] == "an evaluation":
        yield from evaluation(fewer)
    elif row["before"] != "nothing":
        yield from one_pass()
        if row["before"] == "a step":
            yield from update()
        else:
            yield Each(Call(loop, "forget"))
            single.optimizer.zero_grad()
    if row["passes"].startswith("two"):
        yield from one_pass()
    if row["passes"] == "two, an evaluation between":
        yield from evaluation(fewer)
    yield from one_pass()
    kept = dict(_whole(single))
    yield Each(Call(loop, "keep"))
    if row["passes"] == "one, an evaluation behind" or fewer:
        yield from evaluation(fewer)
    yield from update()
    yield from evaluation({})
    yield from _expect_the_end(loop, world, _whole(single), kept)
