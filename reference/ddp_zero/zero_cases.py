"""Cases of `ZeroOptimizer`, stages 1 and 2.

Takes: `Draw`. Gives: case makers. Does not cover: traffic and memory (see `workloads`).
"""

import itertools
from typing import Any

from grader.author import Call, CaseSteps, Draw, Each, Expect, New, On, Raises, Ref, World, case

from .inputs import (
    ADAMW,
    backward,
    expect_weights,
    float_batches,
    new_gpt,
    new_sheet,
    text_batches,
    train,
)
from .oracle import OneProcess

DEFAULTS = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}
LARGE_AND_ONE = 2**18 + 1
"""One more than several of any usual piece: 1 MiB of float32, or less."""


def _optimized(model: Ref, stage: int, **options: Any) -> CaseSteps:
    """Put a `ZeroOptimizer` over all parameters and a loop around it; return both."""
    params = yield Each(New("harness:parameters", model))
    stages = {} if stage == 1 else {"stage": stage}  # 1 is the default
    optimizer = yield Each(New("ZeroOptimizer", params, **stages, **(ADAMW | options)))
    loop = yield Each(New("harness:Loop", model, optimizer=optimizer))
    return optimizer, loop


def _update(loop: Ref, single: OneProcess) -> CaseSteps:
    yield Each(Call(loop, "update"))
    single.update()


@case("ZeroOptimizer", "stage_1", public=1, hidden=3)
def stage_1(draw: Draw) -> CaseSteps:
    """Steps of a small GPT with stage 1 equal unsharded AdamW; several passes before a step too."""
    world = (2, 3, 4)[draw.index]
    yield World(world)
    model, own = yield from new_gpt(draw)
    _, loop = yield from _optimized(model, 1)
    single = OneProcess(own, adamw=ADAMW)
    yield from train(loop, single, [text_batches(draw, world) for _ in range(3)])
    yield from expect_weights(loop, single, world, "after 3 steps", same=True)
    for _ in range(2):
        yield from backward(loop, single, text_batches(draw, world))
    got = yield Each(Call(loop, "which_gradients"))
    there = [gradient is not None for gradient in single.gradients()]
    label = "which parameters have a gradient after finish_backward"
    yield Expect(got, [there] * world, label=label)
    yield from _update(loop, single)
    yield from expect_weights(loop, single, world, "after a step of 2 passes")


@case("ZeroOptimizer", "stage_2", public=1, hidden=3)
def stage_2(draw: Draw) -> CaseSteps:
    """The same with stage 2, which frees gradients: after `finish_backward` they are None."""
    world = (3, 1, 4)[draw.index]
    yield World(world)
    model, own = yield from new_gpt(draw)
    _, loop = yield from _optimized(model, 2)
    single = OneProcess(own, adamw=ADAMW)
    yield from train(loop, single, [text_batches(draw, world) for _ in range(3)])
    yield from expect_weights(loop, single, world, "after 3 steps", same=True)
    for _ in range(2):
        yield from backward(loop, single, text_batches(draw, world))
    got = yield Each(Call(loop, "gradients"))
    freed = [None] * len(single.weights())
    yield Expect(got, [freed] * world, label="gradients after finish_backward")
    yield from _update(loop, single)
    yield from expect_weights(loop, single, world, "after a step of 2 passes")


@case("ZeroOptimizer", "uneven_shards", public=1, hidden=4)
def uneven_shards(draw: Draw) -> CaseSteps:
    """Numbers that do not divide by the ranks, or by a piece; fewer numbers than ranks."""
    world, stage = (4, 3, 4, 3)[draw.index], (2, 1, 2, 1)[draw.index]
    sizes = [(1,), (2,)] if draw.index == 0 else [(draw.integer(1, 7),) for _ in range(5)]
    if draw.index == 1:
        sizes = [()]
    if draw.index == 2:
        sizes.append((LARGE_AND_ONE,))
    yield World(world)
    values = [draw.normal_tensor(*size) for size in sizes]
    model, own = yield from new_sheet(values)
    _, loop = yield from _optimized(model, stage)
    single = OneProcess(own, adamw=ADAMW)
    yield from train(loop, single, [float_batches(draw, world, 4) for _ in range(2)])
    label = f"of sizes {[list(size) for size in sizes]}, stage {stage}"
    yield from expect_weights(loop, single, world, label)


@case("ZeroOptimizer", "groups", public=1, hidden=3)
def groups(draw: Draw) -> CaseSteps:
    """Groups with options of their own, a changed learning rate, a group that is added later.

    All of it is saved at last, and loaded into new groups. Options of 0 are in range.
    """
    world, stage = (2, 4, 3)[draw.index], 1 + draw.index % 2
    parts: list[dict[str, Any]] = [
        {"params": [0, 3], "lr": 0.02},
        {"params": [1], "weight_decay": 0.0, "betas": (0.0, 0.9)},
    ]
    late = {"params": [2, 4], "lr": 0.005, "eps": 0.01}
    # Each group has 12 numbers or more, so that no rank of four is without any; one has 25.
    values = [draw.normal_tensor(draw.integer(4, 6), draw.integer(3, 5)) for _ in range(5)]
    values[1] = draw.normal_tensor(5, 5)
    yield World(world)
    model, own = yield from new_sheet(values)
    chosen = yield Each(New("harness:groups", model, parts))
    optimizer = yield Each(New("ZeroOptimizer", chosen, stage=stage, **ADAMW))
    loop = yield Each(New("harness:Loop", model, optimizer=optimizer))
    single = OneProcess(own, adamw=ADAMW, groups=parts)
    first = [{"used": [0, 1, 3]}] * world
    yield from backward(loop, single, float_batches(draw, world, 6), first)
    yield from _update(loop, single)
    lr = round(0.03 + 0.05 * draw.uniform(), 3)
    yield Each(Call(loop, "set_lr", lr))
    added = yield Each(New("harness:group", model, late))
    yield Each(Call(optimizer, "add_param_group", added))
    params = list(single.model.parameters())
    single.optimizer.param_groups[0]["lr"] = lr
    single.optimizer.add_param_group({**late, "params": [params[n] for n in late["params"]]})
    yield from train(loop, single, [float_batches(draw, world, 6) for _ in range(2)])
    yield from expect_weights(loop, single, world, f"of three groups, stage {stage}")
    saved = yield Each(Call(optimizer, "state_dict"))
    yield Expect(saved[0], single.saved(), label="state_dict of three groups")
    yield World(world)
    model, _ = yield from new_sheet(values)
    yield Each(Call("harness:set_weights", model, single.weights()))
    optimizer = yield from _new_groups(model, [*parts, late], 3 - stage)
    yield Each(Call(optimizer, "load_state_dict", saved[0]))
    loop = yield Each(New("harness:Loop", model, optimizer=optimizer))
    yield from train(loop, single, [float_batches(draw, world, 6)])
    yield from expect_weights(loop, single, world, "of three groups that were loaded")


def _new_groups(model: Ref, parts: list[dict[str, Any]], stage: int) -> CaseSteps:
    """Start an optimizer over the same groups, with defaults for all but two of their options."""
    zeros: list[dict[str, Any]] = [{"eps": 0.0}, {"lr": 0.0}, {}]
    plain = [{"params": part["params"], **zero} for part, zero in zip(parts, zeros, strict=True)]
    chosen = yield Each(New("harness:groups", model, plain))
    optimizer = yield Each(New("ZeroOptimizer", chosen, stage=stage))
    fresh = yield Each(Call(optimizer, "state_dict"))
    untouched = {"state": {}, "param_groups": [DEFAULTS | group for group in _numbered(plain)]}
    yield Expect(fresh[0], untouched, label="state_dict of three new groups")
    return optimizer


def _numbered(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return groups with the numbers that parameters have when they are counted through them."""
    counts = [len(part["params"]) for part in parts]
    ends = list(itertools.accumulate(counts))
    return [
        {**part, "params": list(range(end - count, end))}
        for part, end, count in zip(parts, ends, counts, strict=True)
    ]


@case("ZeroOptimizer", "unused", public=1, hidden=3)
def unused(draw: Draw) -> CaseSteps:
    """What no rank used stays, without decay; its steps are counted from its own first one."""
    world, stage = (2, 3, 4)[draw.index], 2 - draw.index % 2
    values = [draw.normal_tensor(draw.integer(2, 6), draw.integer(1, 4)) for _ in range(6)]
    never, late, frozen, somewhere = draw.shuffled(range(6))[:4]
    plain = [number for number in range(6) if number not in (never, late, somewhere)]
    first = [{"used": plain} for _ in range(world)]
    first[-1] = {"used": sorted([*plain, somewhere])}
    second = [{"used": sorted([*plain, late, somewhere])} for _ in range(world)]
    yield World(world)
    model, own = yield from new_sheet(values, frozen=[frozen])
    _, loop = yield from _optimized(model, stage)
    single = OneProcess(own, adamw=ADAMW)
    for options in (first, first, second):
        yield from backward(loop, single, float_batches(draw, world, 5), options)
        yield from _update(loop, single)
    yield from expect_weights(loop, single, world, f"used now and then, stage {stage}")


@case("ZeroOptimizer", "checkpoint", public=1, hidden=3)
def checkpoint(draw: Draw) -> CaseSteps:
    """Saved with some ranks, loaded with others, training goes on as if nothing had happened."""
    before, after = ((2, 3), (4, 2), (1, 4))[draw.index]
    stage = 1 + draw.index % 2
    yield World(before)
    model, own = yield from new_gpt(draw, n_layers=1)
    optimizer, loop = yield from _optimized(model, stage)
    single = OneProcess(own, adamw=ADAMW)
    yield from train(loop, single, [text_batches(draw, before) for _ in range(2)])
    saved = yield Each(Call(optimizer, "state_dict"))
    yield Expect(saved, [single.saved(), *[{}] * (before - 1)], label="state_dict of each rank")
    weights = yield Each(Call(loop, "weights"))
    yield Expect(weights, [single.weights()] * before, label="parameters before saving")
    yield World(after)
    model, _ = yield from new_gpt(draw, n_layers=1)
    yield Each(Call("harness:set_weights", model, weights[0]))
    optimizer, loop = yield from _optimized(model, 3 - stage, lr=1.0)
    state = yield Each(New("harness:given", saved[0]))
    yield Each(Call(optimizer, "load_state_dict", state))
    yield from train(loop, single, [text_batches(draw, after) for _ in range(2)])
    got = yield Each(Call("harness:given", state))
    yield Expect(got, [saved[0]] * after, label="the state that was loaded", exact=True)
    label = f"of {after} ranks that loaded what {before} had saved"
    yield from expect_weights(loop, single, after, label)


@case("ZeroOptimizer", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Options, groups and states that make no sense raise ValueError and change nothing."""
    values = [draw.normal_tensor(3, 2), draw.normal_tensor(4), draw.normal_tensor(2)]
    yield World(2)
    model, own = yield from new_sheet(values)
    params = yield Each(New("harness:parameters", model))
    nothing = yield Each(New("harness:clones", []))
    bad_options: list[tuple[str, dict[str, Any]]] = [
        ("stage 3", {"stage": 3}),
        ("a negative learning rate", {"lr": -0.1}),
        ("a beta of 1", {"betas": (0.9, 1.0)}),
        ("a negative beta", {"betas": (-0.1, 0.9)}),
        ("a negative eps", {"eps": -1e-8}),
        ("a negative decay", {"weight_decay": -0.1}),
    ]
    for what, options in draw.shuffled(bad_options):
        step = Each(New("ZeroOptimizer", params, **(ADAMW | options)))
        yield Raises(step, "ValueError", what)
    yield Raises(Each(New("ZeroOptimizer", nothing)), "ValueError", "no parameters")
    for what, numbers in (("a group without parameters", []), ("a parameter twice", [0, 1, 0])):
        refused = yield Each(New("harness:groups", model, [{"params": numbers}]))
        yield Raises(Each(New("ZeroOptimizer", refused, **ADAMW)), "ValueError", what)
    chosen = yield Each(New("harness:groups", model, [{"params": [0, 1]}]))
    optimizer = yield Each(New("ZeroOptimizer", chosen, stage=1, **ADAMW))
    loop = yield Each(New("harness:Loop", model, optimizer=optimizer))
    for what, part in (
        ("a parameter that is in a group already", {"params": [2, 1]}),
        ("a group with a negative learning rate", {"params": [2], "lr": -0.1}),
    ):
        refused = yield Each(New("harness:group", model, part))
        yield Raises(Each(Call(optimizer, "add_param_group", refused)), "ValueError", what)
    single = OneProcess(own, adamw=ADAMW, groups=[{"params": [0, 1]}])
    yield from train(loop, single, [float_batches(draw, 2, 4)])
    saved = yield On(1, Call(loop, "weights"))
    yield Expect(saved, single.weights(), label="parameters after refusals")
    states = yield Each(Call(optimizer, "state_dict"))
    yield Expect(states[0], single.saved(), label="state_dict after refusals")
    group = {**ADAMW, "lr": 0.5, "weight_decay": 0.0, "params": [0, 1]}  # none may be taken over
    entry = _entry(draw, 3, 2)
    others = {name: {name: draw.uniform_tensor(2, 3)} for name in ("exp_avg", "exp_avg_sq")}
    bad_states = [
        ("a group more", {"state": {}, "param_groups": [group, {**group, "params": [2]}]}),
        ("a group of another size", {"state": {}, "param_groups": [{**group, "params": [0]}]}),
        ("a number too large", {"state": {2: _entry(draw, 2)}, "param_groups": [group]}),
        ("a negative number", {"state": {-1: _entry(draw, 4)}, "param_groups": [group]}),
        *(
            (
                f"{name} of another shape",
                {"state": {0: entry | other, 1: _entry(draw, 4)}, "param_groups": [group]},
            )
            for name, other in others.items()
        ),
    ]
    for what, state in bad_states:
        yield Raises(Each(Call(optimizer, "load_state_dict", state)), "ValueError", what)
    yield from train(loop, single, [float_batches(draw, 2, 4)])
    yield from expect_weights(loop, single, 2, "after refused states")


def _entry(draw: Draw, *size: int) -> dict[str, Any]:
    moments = {name: draw.uniform_tensor(*size) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": 9, **moments}
