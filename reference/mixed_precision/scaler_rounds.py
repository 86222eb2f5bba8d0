"""The wide check of `GradScaler`: rounds with two optimizers, from any state before.

Takes: `Draw`. Gives: a case maker. Does not cover: numbers out of range (see `scaler_cases`).
"""

from collections.abc import Generator, Sequence

import torch

from grader.assignment.steps import Ref, Step, Value
from grader.author import Call, CaseSteps, Draw, Excluded, Expect, Factors, New, Raises, Row, case

from .inputs import BROKEN, LAYOUTS, laid_out
from .oracle import Momentum, Scale

Tensor = torch.Tensor
Gradients = list[Tensor | None]

ROUNDS = Factors(
    "GradScaler",
    {
        "dtype": (torch.float32, torch.bfloat16),
        "shape": ((2, 3), (), (1, 5), (0, 3), (2, 1030)),
        "view of gradients": LAYOUTS,
        "scale": (1024.0, 1.0, 3.0, 2.0**24),
        "growth_factor": ("left out", 1.5, 4.0),
        "backoff_factor": ("left out", 0.25),
        "growth_interval": (2, 1, 3, "left out"),
        "optimizers": ("one", "two", "two that share a parameter", "one with a parameter twice"),
        "unscaled": ("by step", "by unscale_", "by unscale_, then changed", "only the last one"),
        "before": ("nothing", "a loaded state", "a state loaded within a round", "a refused call"),
        "overflow": ("none", *map(str, BROKEN)),
        "of": ("the first optimizer", "the last one"),
        "gradients": ("all", "one missing", "none in one round", "none of the last optimizer"),
    },
    excluded=(
        Excluded(
            "without an overflow it is of no optimizer",
            lambda row: row["overflow"] == "none" and row["of"] != "the first optimizer",
        ),
        Excluded(
            "an optimizer without gradients does not overflow",
            lambda row: (
                row["gradients"] == "none of the last optimizer"
                and row["overflow"] != "none"
                and row["of"] == "the last one"
            ),
        ),
        Excluded(
            "an optimizer without gradients has none to share",
            lambda row: (
                row["gradients"] == "none of the last optimizer" and row["optimizers"] != "two"
            ),
        ),
    ),
)
_PLACES = {
    "one": ((0, 1, 2),),
    "two": ((0, 1), (2,)),
    "two that share a parameter": ((0, 1), (1, 2)),
    "one with a parameter twice": ((0, 1, 0, 2),),
}
"""Places of the three parameters in the optimizers."""


def _numbers(draw: Draw, row: Row, size: tuple[int, ...]) -> Tensor:
    """Return whole numbers of three bits: times a scale of five bits they fit a bfloat16.

    Those to be divided by 3 are 5 and 7. They have one sign: rounded quotients would cancel, and
    errors are relative to what is left (in 1 of 200 seeds, all of a scalar). And times 1/3 rounded
    to a bfloat16 they are another number, which 1, 2, 3, 4 and 6 are not.
    """
    drawn = draw.integer_tensor(*size, low=-7, high=7)
    return (drawn.abs() | 5 if row["scale"] == 3.0 else drawn).to(row["dtype"])


class _World:
    """Parameters, their optimizers and the scaler, and what they should do."""

    params: Ref
    optimizers: list[Ref]
    scaler: Ref

    def __init__(self, draw: Draw, row: Row) -> None:
        self.draw, self.row = draw, row
        self.sizes = (row["shape"], (4,), (2, 3))
        self.places = _PLACES[row["optimizers"]]
        self.values = [-_numbers(draw, row, size) for size in self.sizes]  # steps lead away from 0
        # One model for all: a parameter that is shared has momentum in both optimizers.
        self.models = [Momentum(self.values) for _ in self.places]
        given = {
            name: row[name]
            for name in ("growth_factor", "backoff_factor", "growth_interval")
            if row[name] != "left out"
        }
        self.given = given
        self.rule = Scale(
            value=row["scale"],
            growth=given.get("growth_factor", 2.0),
            backoff=given.get("backoff_factor", 0.5),
            interval=given.get("growth_interval", 2000),
        )

    def begin(self) -> Generator[Step, Value, None]:
        """Make everything in the sandbox, in the state that the row wants."""
        before = self.row["before"]
        self.params = yield New("harness:Parameters", self.values)
        self.optimizers = []
        for places in self.places:
            some = yield New("harness:Some", self.params, list(places))
            self.optimizers.append((yield New("harness:Momentum", some)))
        loaded = before in ("a loaded state", "a state loaded within a round")
        start = 64.0 if loaded else self.rule.value
        self.scaler = yield New("GradScaler", init_scale=start, **self.given)
        if before == "a state loaded within a round":
            yield self._give([torch.zeros(size).to(self.row["dtype"]) for size in self.sizes])
            for optimizer in self.optimizers:
                yield Call(self.scaler, "unscale_", optimizer)
        if loaded:
            self.rule.good_rounds = min(1, self.rule.interval - 1)
            state = {"scale": self.rule.value, "good_rounds": self.rule.good_rounds}
            yield Call(self.scaler, "load_state_dict", state)
            step = Call(self.scaler, "update")
            yield Raises(step, "RuntimeError", "update after loading, in a round without steps")
        if before == "a refused call":
            yield from self._refuse()

    def _refuse(self) -> Generator[Step, Value, None]:
        """Ask for a float16 gradient, behind another one: nothing is divided, nothing is noted."""
        halves = [torch.ones(3), torch.ones(2).half()]
        params = yield New("harness:Parameters", halves)
        refused = yield New("harness:Momentum", params)
        yield Call(params, "set_gradients", halves)
        step = Call(self.scaler, "unscale_", refused)
        yield Raises(step, "ValueError", "unscale_ with a float16 gradient")
        step = Call(self.scaler, "update")
        yield Raises(step, "RuntimeError", "update after a refused unscale_")
        yield Call(params, "set_gradients", [None, None])
        yield Call(self.scaler, "unscale_", refused)
        yield Call(self.scaler, "update")  # a round without gradients: nothing changes

    def _give(self, gradients: Sequence[Tensor | None]) -> Call:
        view = self.row["view of gradients"]
        sent = [None if g is None else laid_out(g, view) for g in gradients]
        return Call(self.params, "set_gradients", sent)

    def draw_gradients(self, number: int) -> Gradients:
        """Return the gradients of a round as they should be after the division."""
        found: Gradients = [_numbers(self.draw, self.row, size) for size in self.sizes]
        match self.row["gradients"]:
            case "one missing":
                found[(number + 1) % 3] = None
            case "none in one round" if number == 1:
                found = [None, None, None]
            case "none of the last optimizer":
                found[2] = None
        first = self.row["of"] == "the first optimizer"
        if self.row["overflow"] != "none" and number == 2:
            places = self.places[0 if first else -1]
            able = [i for i in places if found[i] is not None and found[i].numel()]
            found[able[-1 if first else 0]].view(-1)[-1] = float(self.row["overflow"])
        return found

    def round(self, number: int) -> Generator[Step, Value, None]:
        """Play a round, and compare what is stepped, all gradients, parameters and the state."""
        numbers = self.draw_gradients(number)
        # Of a scale of 3, quotients that must be rounded; of all others, multiples.
        factor = 1.0 if self.rule.value == 3.0 else self.rule.value
        arriving = [None if g is None else g * factor for g in numbers]
        divided = [
            None if g is None else (g.float() / self.rule.value).to(g.dtype) for g in arriving
        ]
        yield self._give(arriving)
        how, final = self.row["unscaled"], divided
        asked = {"by step": [], "only the last one": self.optimizers[-1:]}.get(how, self.optimizers)
        for optimizer in asked:
            yield Call(self.scaler, "unscale_", optimizer)
        halves = self.row["dtype"] is torch.bfloat16
        if how == "by unscale_, then changed":  # as clipping does
            got = yield Call(self.params, "gradients")
            label = f"gradients after unscale_ in round {number + 1}"
            yield Expect(got, divided, label=label, exact=halves)
            final = [None if g is None else g * 0.5 for g in divided]
            yield self._give(final)
        bad = [
            any(divided[i] is not None and not divided[i].isfinite().all() for i in places)
            for places in self.places
        ]
        for optimizer, model, places, skip in zip(
            self.optimizers, self.models, self.places, bad, strict=True
        ):
            stepped = yield Call(self.scaler, "step", optimizer)
            yield Expect(stepped, not skip, label=f"whether step {number + 1} was taken")
            if not skip:
                model.step([g if i in places else None for i, g in enumerate(final)])
                for other in self.models:
                    other.values = model.values
        yield Call(self.scaler, "update")
        had = any(divided[i] is not None for places in self.places for i in places)
        self.rule.end_round(overflow=any(bad), had_gradient=had)
        yield from self._compare(number, final)

    def _compare(self, number: int, gradients: Gradients) -> Generator[Step, Value, None]:
        after = f"after round {number + 1}"
        got = yield Call(self.params, "gradients")
        halves = self.row["dtype"] is torch.bfloat16
        yield Expect(got, gradients, label=f"gradients {after}", exact=halves)
        same = yield Call(self.params, "has_given_gradients")
        yield Expect(same, True, label=f"whether gradients are the same tensors {after}")
        got = yield Call(self.params, "values")
        want = [v.to(self.row["dtype"]) for v in self.models[0].values]
        yield Expect(got, want, label=f"parameters {after}")
        got = yield Call(self.scaler, "state_dict")
        state = {"scale": self.rule.value, "good_rounds": self.rule.good_rounds}
        yield Expect(got, state, label=f"state {after}")


@case("GradScaler", "combinations", public=3, hidden=6, factors=ROUNDS)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once, over four rounds: scales from 1 to 2**24, overflows, shared parameters.

    Optimizers are unscaled by `step`, by `unscale_`, or one of them; states are loaded, also in the
    middle of a round.
    """
    world = _World(draw, row)
    yield from world.begin()
    for number in range(4):
        yield from world.round(number)
