"""Cases of `MasterAdamW`.

Takes: `Draw`. Gives: case makers. Does not cover: memory and time of a step.
"""

from collections.abc import Sequence

import torch

from grader.assignment.steps import Value
from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Excluded,
    Expect,
    Factors,
    New,
    Raises,
    Ref,
    Row,
    case,
)

from .inputs import LAYOUTS, laid_out, shapes, strided
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


def _models(values: Sequence[Tensor], rule: Rule) -> list[AdamW]:
    return [AdamW(weight=value, **rule) for value in values]


def _state(models: Sequence[AdamW]) -> dict[str, list[Value]]:
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
    models = _models(values, rule)
    for step in range(draw.integer(4, 6)):
        gradients = _drawn_gradients(draw, values, step)
        yield from _step((params, optimizer), models, gradients)
    got = yield Call(optimizer, "state_dict")
    yield Expect(got, _state(models), label="state")
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
    models = _models(values, rule)
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
    models = _models(values, rule)
    for _ in range(4):
        gradients = [draw.normal_tensor(3, 4, dtype=kind) for kind in KINDS]
        gradients[draw.integer(0, 2)].zero_()
        yield from _step((params, optimizer), models, gradients)
    got = yield Call(optimizer, "state_dict")
    yield Expect(got, _state(models), label="state")


@case("MasterAdamW", "without_gradient", hidden=3)
def without_gradient(draw: Draw) -> CaseSteps:
    """A parameter without a gradient does not move, decay or count; `zero_grad` takes them all."""
    values = [draw.normal_tensor(2, 3, dtype=kind) for kind in KINDS]
    rule = _rule(draw, weight_decay=0.5)
    params = yield New("harness:Parameters", values)
    optimizer = yield New("MasterAdamW", params, **rule)
    models = _models(values, rule)
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
    yield Expect(got, _state(models), label="state")


@case("MasterAdamW", "tied", hidden=2)
def tied(draw: Draw) -> CaseSteps:
    """A parameter that stands in the list twice takes one step, and has one state."""
    values = [draw.normal_tensor(3, 2, dtype=kind) for kind in KINDS[:2]]
    rule = _rule(draw)
    order = draw.choice(([0, 1, 0], [1, 1, 0], [0, 1, 1]))
    params = yield New("harness:Parameters", values, order)
    optimizer = yield New("MasterAdamW", params, **rule)
    unique = list(dict.fromkeys(order))
    models = _models([values[i] for i in unique], rule)
    for _ in range(3):
        gradients = [draw.normal_tensor(3, 2, dtype=value.dtype) for value in values]
        yield Call(params, "set_gradients", [gradients[i] for i in order])
        yield Call(optimizer, "step")
        for i, model in zip(unique, models, strict=True):
            model.step(gradients[i])
    got = yield Call(optimizer, "state_dict")
    yield Expect(got, _state(models), label="state, tied parameters once")


@case("MasterAdamW", "round_trip", hidden=3)
def round_trip(draw: Draw) -> CaseSteps:
    """A state that is saved and loaded into another optimizer continues as if nothing was."""
    values = [draw.normal_tensor(4, 3, dtype=kind) for kind in KINDS]
    rule = _rule(draw, weight_decay=0.1)
    params = yield New("harness:Parameters", values)
    optimizer = yield New("MasterAdamW", params, **rule)
    models = _models(values, rule)
    fresh = [draw.normal_tensor(4, 3, dtype=kind) for kind in KINDS]
    for step in range(6):
        if step == 3:
            state = yield Call(optimizer, "state_dict")
            yield Expect(state, _state(models), label="state in the middle")
            params = yield New("harness:Parameters", fresh)
            optimizer = yield New("MasterAdamW", params, **rule)
            yield Call(optimizer, "load_state_dict", state)
            got = yield Call(params, "values")
            yield Expect(got, _rounded(models, values), label="parameters after loading")
        gradients = [draw.normal_tensor(4, 3, dtype=kind) for kind in KINDS]
        yield from _step((params, optimizer), models, gradients)
    got = yield Call(optimizer, "state_dict")
    yield Expect(got, _state(models), label="state at the end")


@case("MasterAdamW", "bad_input", hidden=2)
def bad_input(draw: Draw) -> CaseSteps:
    """Numbers out of range, other dtypes, foreign states: ValueError, nothing moves."""
    values = [draw.normal_tensor(2, 3, dtype=kind) for kind in KINDS]
    params = yield New("harness:Parameters", values)
    bad_rules: list[Rule] = [
        {"lr": -0.1},
        {"betas": (1.0, 0.9)},
        {"betas": (0.9, -0.1)},
        {"eps": -1e-8},
        {"weight_decay": -0.01},
    ]
    for rule in draw.shuffled(bad_rules):
        yield Raises(New("MasterAdamW", params, **rule), "ValueError", f"MasterAdamW with {rule}")
    doubles = yield New("harness:Parameters", [draw.normal_tensor(2, dtype=torch.float64)])
    yield Raises(New("MasterAdamW", doubles), "ValueError", "a float64 parameter")
    nothing = yield New("harness:Parameters", [])
    yield Raises(New("MasterAdamW", nothing), "ValueError", "no parameters")

    rule = _rule(draw)
    optimizer = yield New("MasterAdamW", params, **rule)
    state = _state(_models([draw.normal_tensor(2, 3) for _ in KINDS], rule))
    for what, bad in draw.shuffled(_bad_states(state)):
        yield Raises(Call(optimizer, "load_state_dict", bad), "ValueError", f"a state with {what}")
        got = yield Call(optimizer, "state_dict")
        yield Expect(got, _state(_models(values, rule)), label=f"state after {what}", exact=True)
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
    ]


ADAMW = Factors(
    "MasterAdamW",
    {
        "dtype": KINDS,
        "shape": ((3, 4), (), (1,), (0, 3), (1, 5), (2, 1030)),
        "view of parameters": LAYOUTS,
        "view of gradients": LAYOUTS,
        "parameters": ("all different", "one tied", "one frozen", "given as an iterator"),
        "lr": (0.03, 0.0),
        "betas": ((0.9, 0.999), "left out", (0.0, 0.95), (0.8, 0.0)),
        "eps": ("left out", 1e-3, 0.0),
        "weight_decay": ("left out", 0.0, 0.5),
        "gradients": ("near 1", "near 1e-6", "near 300", "all 0"),
        "before": ("nothing", "a step", "a state was loaded", "a state was loaded over another"),
    },
    excluded=(
        Excluded(
            "eps of 0 and gradients of 0 divide 0 by 0: not graded",
            lambda row: row["eps"] == 0.0 and row["gradients"] == "all 0",
        ),
        Excluded(
            "with a rate of 0 nobody sees eps or decay",
            lambda row: (
                row["lr"] == 0.0 and (row["eps"] != "left out" or row["weight_decay"] != "left out")
            ),
        ),
    ),
)
_SIZES = {"near 1": 1.0, "near 1e-6": 1e-6, "near 300": 300.0, "all 0": 0.0}


def _rule_of(row: Row) -> tuple[Rule, Rule]:
    """Return the numbers that the optimizer is given, and all of them."""
    given: Rule = {"lr": row["lr"]}
    for name in ("betas", "eps", "weight_decay"):
        if row[name] != "left out":
            given[name] = row[name]
    return given, {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, **given}


def _values_of(draw: Draw, row: Row) -> list[Tensor]:
    """Return numbers away from 0, where differences would have few digits left."""
    sizes = [(row["shape"], row["dtype"]), ((2, 3), torch.float32), ((4,), row["dtype"])]
    drawn = [
        (draw.uniform_tensor(*size, low=0.5, high=1.5) * draw.choice((1.0, -1.0))).to(kind)
        for size, kind in sizes
    ]
    return [laid_out(x, row["view of parameters"]) for x in drawn]


def _gradients_of(draw: Draw, row: Row, values: Sequence[Tensor]) -> list[Tensor | None]:
    """Return gradients of one sign; a frozen parameter, the last one, has none."""
    size, found = _SIZES[row["gradients"]], list[Tensor | None]()
    for value in values:
        g = (draw.uniform_tensor(*value.shape, low=0.5, high=1.5) * size).to(value.dtype)
        found.append(laid_out(g, row["view of gradients"]))
    if row["parameters"] == "one frozen":
        found[2] = None
    return found


class _Play:
    """What one row plays: three parameters, their optimizer, and what they should become."""

    params: Ref
    optimizer: Ref

    def __init__(self, draw: Draw, row: Row) -> None:
        self.draw, self.row = draw, row
        self.given, self.rule = _rule_of(row)
        self.order = [0, 1, 2, 0] if row["parameters"] == "one tied" else [0, 1, 2]
        self.values = _values_of(draw, row)
        self.models = _models(self.values, self.rule)

    def begin(self, values: Sequence[Tensor]) -> CaseSteps:
        """Make the parameters and an optimizer of them in the sandbox."""
        frozen = [2] if self.row["parameters"] == "one frozen" else []
        self.params = yield New("harness:Parameters", list(values), self.order, frozen)
        passed = self.params
        if self.row["parameters"] == "given as an iterator":
            passed = yield New("harness:Once", self.params)
        self.optimizer = yield New("MasterAdamW", passed, **self.given)

    def step(self, models: Sequence[AdamW]) -> CaseSteps:
        """Take a step, in the sandbox and with models; gradients stay as they are."""
        gradients = _gradients_of(self.draw, self.row, self.values)
        yield from _step_all(self, gradients)
        for model, gradient in zip(models, gradients, strict=True):
            model.step(gradient)

    def load(self) -> CaseSteps:
        """Move the state to another optimizer, which may have one; then overwrite what it got."""
        saved = yield New("harness:Saved", self.optimizer)
        fresh = _values_of(self.draw, self.row)
        yield from self.begin(fresh)
        if self.row["before"] == "a state was loaded over another":
            other = _models(fresh, self.rule)
            for _ in range(2):
                yield from self.step(other)
        yield Call(saved, "load_into", self.optimizer)
        yield from self.step(self.models)
        yield Call(saved, "overwrite")


def _step_all(play: _Play, gradients: Sequence[Tensor | None]) -> CaseSteps:
    sent = [gradients[i] for i in play.order]
    yield Call(play.params, "set_gradients", sent)
    yield Call(play.optimizer, "step")
    got = yield Call(play.params, "gradients")
    yield Expect(got, sent, label="gradients after step", exact=True)


@case("MasterAdamW", "combinations", public=3, hidden=6, factors=ADAMW)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, strides of each, sizes, numbers of 0, states before.

    Parameters are exactly their masters, rounded to nearest. A state that was given or taken is
    overwritten by the caller, and the optimizer feels nothing of it.
    """
    play = _Play(draw, row)
    yield from play.begin(play.values)
    held = yield Call("harness:holds", play.optimizer, play.params)
    yield Expect(held, True, label="whether params is a list of the parameters as given")
    if row["before"] != "nothing":
        yield from play.step(play.models)
    if "loaded" in row["before"]:
        yield from play.load()
    taken = yield New("harness:Saved", play.optimizer)
    before = _state(play.models)
    for _ in range(2):
        yield from play.step(play.models)
    got = yield Call(taken, "state")
    yield Expect(got, before, label="a state that was taken two steps ago")
    yield Call(taken, "overwrite")
    state = yield Call(play.optimizer, "state_dict")
    yield Expect(state, _state(play.models), label="state")
    masters = [w.to(v.dtype) for w, v in zip(state["master"], play.values, strict=True)]
    got = yield Call(play.params, "values")
    label = "parameters: their masters, rounded"
    yield Expect(got, [masters[i] for i in play.order], label=label, exact=True)
    yield Call(play.params, "shift", 1.0)
    state = yield Call(play.optimizer, "state_dict")
    got = yield Call(play.params, "values")
    label = "master of a float32 parameter that was changed"
    yield Expect(state["master"][1], got[1], label=label, exact=True)
    yield Call(play.optimizer, "zero_grad")
    got = yield Call(play.params, "gradients")
    yield Expect(got, [None] * len(play.order), label="gradients after zero_grad")
