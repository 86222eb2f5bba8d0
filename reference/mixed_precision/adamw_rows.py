"""The wide check of `MasterAdamW`: dtypes, strides, numbers of 0 and states before, two at once.

Takes: `Draw`. Gives: a case maker. Does not cover: numbers out of range (see `adamw_cases`).
"""

from collections.abc import Sequence

import torch

from grader.assignment.steps import Ref
from grader.author import Call, CaseSteps, Draw, Excluded, Expect, Factors, New, Row, case

from .adamw_cases import KINDS, Rule, models_of, state_of
from .inputs import LAYOUTS, laid_out
from .oracle import AdamW

Tensor = torch.Tensor

ADAMW = Factors(
    "MasterAdamW",
    {
        "dtype": KINDS,
        "shape": ((3, 4), (), (1,), (0, 3), (1, 5), (2, 1030)),
        "view of parameters": LAYOUTS,
        "view of gradients": LAYOUTS,
        "parameters": ("all different", "one tied", "one frozen", "given as an iterator"),
        "lr": (0.03, "left out", 0.0),
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
    defaults: Rule = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}
    given = {name: row[name] for name in defaults if row[name] != "left out"}
    return given, {**defaults, **given}


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
        self.models = models_of(self.values, self.rule)

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
            other = models_of(fresh, self.rule)
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
    before = state_of(play.models)
    for _ in range(2):
        yield from play.step(play.models)
    got = yield Call(taken, "state")
    yield Expect(got, before, label="a state that was taken two steps ago")
    yield Call(taken, "overwrite")
    state = yield Call(play.optimizer, "state_dict")
    yield Expect(state, state_of(play.models), label="state")
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
