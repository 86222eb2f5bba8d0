"""The wide case of `ZeroOptimizer`: how it came to be, passes, what was used, what is saved.

Takes: `Draw`, rows of factors. Gives: a case maker. Does not cover: worlds, which a row does not
choose (an instance plays its rows in one).
"""

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

from .inputs import (
    ADAMW,
    backward,
    expect_weights,
    float_batches,
    new_sheet,
    world_of_rows,
)
from .oracle import OneProcess

COLUMNS = 5
COUNT = 5
PARTS: list[dict[str, Any]] = [
    {"params": [4, 0], "lr": 0.02, "betas": (0.5, 0.9)},
    {"params": [2, 1], "weight_decay": 0.0, "eps": 0.05},
]
LATE: dict[str, Any] = {"params": [3], "eps": 0.02}

ZERO = Factors(
    "ZeroOptimizer",
    {
        "stage": (1, 2),
        "params": ("a list", "an iterator", "groups", "an iterator of groups", "a group added"),
        "dtype": (torch.float32, torch.float64, "32 and 64 bits"),
        "sizes": ("up to 7 numbers", "one number each", "100 and more numbers"),
        "passes": (1, 2),
        "used": ("everything", "less on one rank", "one nowhere", "one in the first pass alone"),
        "before": (
            "nothing",
            "a step",
            "gradients that were cleared",
            "a loaded state",
            "a step, then a loaded state",
        ),
        "frozen": ("nothing", "one", "one that has a gradient"),
        "in a submodule": (False, True),
    },
    excluded=(
        Excluded(
            "one pass is the first and the last",
            lambda row: row["passes"] == 1 and row["used"] == "one in the first pass alone",
        ),
    ),
)


def _model(draw: Draw, row: Row) -> CaseSteps:
    """Start the sheet that a row describes; return its ref and the judge's own."""
    numel = {"one number each": (1, 1), "up to 7 numbers": (2, 7)}.get(row["sizes"], (100, 260))
    both = [torch.float32, torch.float64] * COUNT
    dtypes = both[:COUNT] if row["dtype"] == "32 and 64 bits" else [row["dtype"]] * COUNT
    values = [draw.normal_tensor(draw.integer(*numel), scale=0.5).to(dtype) for dtype in dtypes]
    keywords: dict[str, Any] = {} if row["frozen"] == "nothing" else {"frozen": [1]}
    if row["in a submodule"]:
        return (yield from new_sheet([], inner={"values": values, **keywords}))
    return (yield from new_sheet(values, **keywords))


def _optimizer(row: Row, model: Ref, *, late: bool = True) -> CaseSteps:
    """Start an optimizer over a model, given in the way of the row; the group added only `late`."""
    kind, added = row["params"], row["params"] == "a group added"
    parts = PARTS if added else [*PARTS, LATE]
    if kind in ("a list", "an iterator"):
        name = "parameters" if kind == "a list" else "iterator"
        params = yield Each(New(f"harness:{name}", model))
    else:
        name = "group_iterator" if kind == "an iterator of groups" else "groups"
        params = yield Each(New(f"harness:{name}", model, parts))
    optimizer = yield Each(New("ZeroOptimizer", params, stage=row["stage"], **ADAMW))
    if added and late:
        group = yield Each(New("harness:group", model, LATE))
        yield Each(Call(optimizer, "add_param_group", group))
    return optimizer


def _without(number: int) -> dict[str, Any]:
    return {"used": [other for other in range(COUNT) if other != number]}


def _used(row: Row, world: int) -> tuple[list[Any], list[Any]]:
    """Return the options of each rank in the first pass and in the last one."""
    everything: list[Any] = [{"used": list(range(COUNT))}] * world
    match row["used"]:
        case "less on one rank":
            some = [_without(2), *everything[1:]]
            return some, some
        case "one nowhere":
            return [_without(2)] * world, [_without(2)] * world
        case "one in the first pass alone":
            return everything, [_without(2)] * world
    return everything, everything


def _state_to_load(draw: Draw, row: Row, single: OneProcess, world: int) -> dict[str, Any]:
    """Return a state in which parameter 2 has never been stepped; the judge's own continues it."""
    other = single.fresh()
    for _ in range(2):
        other.backward(float_batches(draw, world, COLUMNS), [_without(2)] * world)
        other.update()
    saved = other.saved()
    single.load_state(saved)
    return saved


@case("ZeroOptimizer", "combinations", public=2, hidden=4, factors=ZERO)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: stages, groups, iterators, passes, loads, dtypes, what was used where."""
    world = yield from world_of_rows(draw, (3, 2, 2, 1))
    model, own = yield from _model(draw, row)
    listed = row["params"] in ("a list", "an iterator")
    single = OneProcess(own, adamw=ADAMW, groups=None if listed else [*PARTS, LATE])
    optimizer = yield from _optimizer(row, model)
    loop = yield Each(New("harness:Loop", model, optimizer=optimizer))
    first, last = _used(row, world)

    def one_pass(options: list[Any]) -> CaseSteps:
        yield from backward(loop, single, float_batches(draw, world, COLUMNS), options)

    def update() -> CaseSteps:
        yield Each(Call(loop, "update"))
        single.update()

    if row["before"] in ("a step", "a step, then a loaded state"):
        yield from one_pass([_without(0)] * world)
        yield from update()
    if row["before"] == "gradients that were cleared":
        yield from one_pass([{}] * world)
        yield Each(Call(loop, "forget"))
        single.optimizer.zero_grad()
    if row["before"] in ("a loaded state", "a step, then a loaded state"):
        state = _state_to_load(draw, row, single, world)
        yield Each(Call(optimizer, "load_state_dict", state))
    if row["passes"] == 2:
        yield from one_pass(first)
    yield from one_pass(last)
    if row["frozen"] == "one that has a gradient":
        yield Each(Call("harness:give_frozen_gradients", model))
    yield from update()
    yield from expect_weights(loop, single, world, "after the last step", same=True)
    saved = yield Each(Call(optimizer, "state_dict"))
    yield Expect(saved, [single.saved(), *[{}] * (world - 1)], label="state_dict of each rank")
