"""Cases of `MasterAdamW`.

Takes: `Draw`. Gives: case makers. Does not cover: two things at once (see `adamw_rows`); memory and
time of a step.
"""

from collections.abc import Sequence

import torch

from grader.assignment.steps import Value
from grader.author import Call, CaseSteps, Draw, Expect, New, Raises, Ref, case

from .inputs import shapes, strided
from .oracle import AdamW

Tensor = torch.Tensor
Rule = dict[str, Value]

KINDS = (torch.bfloat16, torch.float16, torch.float32)


def _rule(draw: Draw, **fixed: Value) -> Rule:
    drawn: Rule = {
        "lr": draw.choice((1e-2, 3e-2)),
        "betas": draw.choice(((0.9, 0.999), (0.8, 0.95))),
        "eps": draw.choice((1e-8, 1e-3)),
        "weight_decay": 0.0,
    }
    return {**drawn, **fixed}


def models_of(values: Sequence[Tensor], rule: Rule) -> list[AdamW]:
    return [AdamW(weight=value, **rule) for value in values]


def state_of(models: Sequence[AdamW]) -> dict[str, list[Value]]:
    return {
        "steps": [model.steps for model in models],
        "master": [model.weight.float() for model in models],
        "m": [model.m.float() for model in models],
        "v": [model.v.float() for model in models],
    }


def _rounded(models: Sequence[AdamW], values: Sequence[Tensor]) -> list[Tensor]:
    return [m.weight.float().to(v.dtype) for m, v in zip(models, values, strict=True)]


def _step(
    refs: tuple[Ref, Ref], models: Sequence[AdamW], gradients: Sequence[Tensor | None]
) -> CaseSteps:
    """Step with these gradients, in the sandbox (parameters, optimizer) and on models."""
    params, optimizer = refs
    yield Call(params, "set_gradients", list(gradients))
    yield Call(optimizer, "step")
    for model, gradient in zip(models, gradients, strict=True):
        model.step(gradient)


def _drawn_gradients(draw: Draw, values: Sequence[Tensor], step: int) -> list[Tensor]:
    """Return gradients of very different sizes: large, usual, and nearly nothing.

    That of a single number is positive in all steps: moments of two large ones would cancel, and
    errors are relative to what is left (in 2 of 300 seeds 1.6e-5).
    """
    scales = (1.0, 1e-3, 300.0, 1e-5)
    drawn = [strided(draw, tuple(value.shape)) for value in values]
    return [
        ((g.abs() if g.numel() == 1 else g) * scales[(step + i) % 4]).to(value.dtype)
        for i, (g, value) in enumerate(zip(drawn, values, strict=True))
    ]


@case("MasterAdamW", "trajectory", public=2, hidden=4)
def trajectory(draw: Draw) -> CaseSteps:
    """Several steps, all dtypes: masters, moments and rounded weights follow AdamW."""
    sizes = [(2, 3), (4,)] if draw.index == 0 else shapes(draw, 5)
    values = [strided(draw, size, KINDS[i % 3]) for i, size in enumerate(sizes)]
    rule = _rule(draw)
    params = yield New("harness:Parameters", values)
    optimizer = yield New("MasterAdamW", params, **rule)
    models = models_of(values, rule)
    for step in range(draw.integer(4, 6)):
        gradients = _drawn_gradients(draw, values, step)
        yield from _step((params, optimizer), models, gradients)
    got = yield Call(optimizer, "state_dict")
    yield Expect(got, state_of(models), label="state")
    got = yield Call(params, "values")
    yield Expect(got, _rounded(models, values), label="parameters")
    got = yield Call(params, "gradients")
    yield Expect(got, gradients, label="gradients after the step", exact=True)


@case("MasterAdamW", "small_updates", hidden=2)
def small_updates(draw: Draw) -> CaseSteps:
    """Steps far below the last place of a bfloat16 add up over time."""
    width = draw.integer(2, 9)
    values = [draw.uniform_tensor(width, low=0.6, high=0.95).to(torch.bfloat16)]
    # 60 steps of 2.5e-4 are 0.015; half a unit in the last place of 0.6 … 0.95 is 0.002.
    rule = _rule(draw, lr=2.5e-4, betas=(0.9, 0.999), eps=1e-8)
    params = yield New("harness:Parameters", values)
    optimizer = yield New("MasterAdamW", params, **rule)
    models = models_of(values, rule)
    gradient = draw.uniform_tensor(width, low=0.5, high=2.0).to(torch.bfloat16)
    gradient = gradient * draw.choice((1.0, -1.0))
    yield Call(params, "set_gradients", [gradient])
    for _ in range(60):
        yield Call(optimizer, "step")
        models[0].step(gradient)
    got = yield Call(params, "values")
    yield Expect(got, _rounded(models, values), label="parameters after 60 small steps")


@case("MasterAdamW", "decay", hidden=2)
def decay(draw: Draw) -> CaseSteps:
    """Decay shrinks weights and never enters the moments, also where the gradient is zero."""
    values = [draw.normal_tensor(3, 4, dtype=kind) for kind in KINDS]
    rule = _rule(draw, weight_decay=draw.choice((0.5, 2.0)), lr=0.05)
    params = yield New("harness:Parameters", values)
    optimizer = yield New("MasterAdamW", params, **rule)
    models = models_of(values, rule)
    for _ in range(4):
        gradients = [draw.normal_tensor(3, 4, dtype=kind) for kind in KINDS]
        gradients[draw.integer(0, 2)].zero_()
        yield from _step((params, optimizer), models, gradients)
    got = yield Call(optimizer, "state_dict")
    yield Expect(got, state_of(models), label="state")


@case("MasterAdamW", "without_gradient", hidden=3)
def without_gradient(draw: Draw) -> CaseSteps:
    """A parameter without a gradient does not move, decay or count; `zero_grad` takes them all."""
    values = [draw.normal_tensor(2, 3, dtype=kind) for kind in KINDS]
    rule = _rule(draw, weight_decay=0.5)
    params = yield New("harness:Parameters", values)
    optimizer = yield New("MasterAdamW", params, **rule)
    models = models_of(values, rule)
    for step in range(5):
        gradients = [
            draw.normal_tensor(2, 3, dtype=kind) if (step + i) % 3 else None
            for i, kind in enumerate(KINDS)
        ]
        yield from _step((params, optimizer), models, gradients)
    yield Call(optimizer, "zero_grad")
    got = yield Call(params, "gradients")
    yield Expect(got, [None] * 3, label="gradients after zero_grad")
    yield Call(optimizer, "step")
    got = yield Call(optimizer, "state_dict")
    yield Expect(got, state_of(models), label="state")


@case("MasterAdamW", "tied", hidden=2)
def tied(draw: Draw) -> CaseSteps:
    """A parameter that stands in the list twice takes one step, and has one state."""
    values = [draw.normal_tensor(3, 2, dtype=kind) for kind in KINDS[:2]]
    rule = _rule(draw)
    order = draw.choice(([0, 1, 0], [1, 1, 0], [0, 1, 1]))
    params = yield New("harness:Parameters", values, order)
    optimizer = yield New("MasterAdamW", params, **rule)
    unique = list(dict.fromkeys(order))
    models = models_of([values[i] for i in unique], rule)
    for _ in range(3):
        gradients = [draw.normal_tensor(3, 2, dtype=value.dtype) for value in values]
        yield Call(params, "set_gradients", [gradients[i] for i in order])
        yield Call(optimizer, "step")
        for i, model in zip(unique, models, strict=True):
            model.step(gradients[i])
    got = yield Call(optimizer, "state_dict")
    yield Expect(got, state_of(models), label="state, tied parameters once")


@case("MasterAdamW", "round_trip", hidden=3)
def round_trip(draw: Draw) -> CaseSteps:
    """A state that is saved and loaded into another optimizer continues as if nothing was."""
    values = [draw.normal_tensor(4, 3, dtype=kind) for kind in KINDS]
    rule = _rule(draw, weight_decay=0.1)
    params = yield New("harness:Parameters", values)
    optimizer = yield New("MasterAdamW", params, **rule)
    models = models_of(values, rule)
    fresh = [draw.normal_tensor(4, 3, dtype=kind) for kind in KINDS]
    for step in range(6):
        if step == 3:
            state = yield Call(optimizer, "state_dict")
            yield Expect(state, state_of(models), label="state in the middle")
            params = yield New("harness:Parameters", fresh)
            optimizer = yield New("MasterAdamW", params, **rule)
            yield Call(optimizer, "load_state_dict", state)
            got = yield Call(params, "values")
            yield Expect(got, _rounded(models, values), label="parameters after loading")
        gradients = [draw.normal_tensor(4, 3, dtype=kind) for kind in KINDS]
        yield from _step((params, optimizer), models, gradients)
    got = yield Call(optimizer, "state_dict")
    yield Expect(got, state_of(models), label="state at the end")


@case("MasterAdamW", "bad_input", hidden=2)
def bad_input(draw: Draw) -> CaseSteps:
    """Numbers out of range, other dtypes, foreign states: ValueError, nothing moves."""
    values = [draw.normal_tensor(2, 3, dtype=kind) for kind in KINDS]
    params = yield New("harness:Parameters", values)
    bad_rules: list[Rule] = [
        {"lr": -0.1},
        {"betas": (1.0, 0.9)},
        {"betas": (0.9, 1.0)},
        {"betas": (0.9, -0.1)},
        {"eps": -1e-8},
        {"weight_decay": -0.01},
    ]
    for rule in draw.shuffled(bad_rules):
        yield Raises(New("MasterAdamW", params, **rule), "ValueError", f"MasterAdamW with {rule}")
    kinds = (torch.float64, torch.float32)
    for some in (kinds, kinds[::-1]):
        mixed = yield New("harness:Parameters", [draw.normal_tensor(2, dtype=one) for one in some])
        yield Raises(New("MasterAdamW", mixed), "ValueError", "one parameter in float64")
    nothing = yield New("harness:Parameters", [])
    yield Raises(New("MasterAdamW", nothing), "ValueError", "no parameters")

    rule = _rule(draw)
    optimizer = yield New("MasterAdamW", params, **rule)
    state = state_of(models_of([draw.normal_tensor(2, 3) for _ in KINDS], rule))
    for what, bad in draw.shuffled(_bad_states(state)):
        yield Raises(Call(optimizer, "load_state_dict", bad), "ValueError", f"a state with {what}")
        got = yield Call(optimizer, "state_dict")
        yield Expect(
            got, state_of(models_of(values, rule)), label=f"state after {what}", exact=True
        )
    got = yield Call(params, "values")
    yield Expect(got, values, label="parameters after refused states", exact=True)


def _bad_states(state: dict[str, list[Value]]) -> list[tuple[str, dict[str, list[Value]]]]:
    """Return states with one fault each, in the last entry, so that all before it are right."""

    def last(name: str, value: Value) -> dict[str, list[Value]]:
        return {**state, name: [*state[name][:-1], value]}

    without = {name: entries for name, entries in state.items() if name != "v"}
    return [
        ("no v", without),
        ("another key", {**state, "lr": [1.0]}),
        ("a master too few", {**state, "master": state["master"][:-1]}),
        ("a moment of another shape", last("v", torch.zeros(3, 2))),
        ("a moment in bfloat16", last("m", torch.zeros(2, 3, dtype=torch.bfloat16))),
        ("a negative step", last("steps", -1)),
        ("half a step", last("steps", 1.5)),
        ("a step too few", {**state, "steps": state["steps"][:-1]}),
    ]
