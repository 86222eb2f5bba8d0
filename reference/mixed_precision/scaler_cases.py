"""Cases of `GradScaler`.

Takes: `Draw`. Gives: case makers. Does not cover: training with it.

Gradients are whole numbers times the scale, and scales are powers of two, so that every comparison
is exact unless a case says otherwise.
"""

import math
from collections.abc import Sequence

import torch

from grader.author import Call, CaseSteps, Draw, Expect, New, Raises, case

from .inputs import BROKEN, Side, broken, give, new_side, whole
from .oracle import Scale

Tensor = torch.Tensor

SIZES = ((2, 3), (4,), (1,))


def _values(draw: Draw) -> list[Tensor]:
    return [whole(draw, *size) for size in SIZES]


def _scaled(draw: Draw, scale: float) -> tuple[list[Tensor], list[Tensor]]:
    """Return gradients as they should be, and times the scale as they arrive."""
    gradients = _values(draw)
    return gradients, [g * scale for g in gradients]


def _expected_values(side: Side) -> list[Tensor]:
    return [value.float() for value in side.model.values]


def _new_scaler(rule: Scale) -> New:
    return New(
        "GradScaler",
        init_scale=rule.value,
        growth_factor=rule.growth,
        backoff_factor=rule.backoff,
        growth_interval=rule.interval,
    )


@case("GradScaler", "growth", public=1, hidden=3)
def growth(draw: Draw) -> CaseSteps:
    """After every interval of good rounds the scale grows, up to 2**24; the count starts again."""
    rule = Scale(value=2.0**21, growth=draw.choice((2.0, 4.0)), backoff=0.5, interval=3)
    side = yield from new_side(_values(draw))
    scaler = yield _new_scaler(rule)
    for number in range(rule.interval * 4 + 1):
        gradients, arriving = _scaled(draw, rule.value)
        yield give(side, arriving)
        stepped = yield Call(scaler, "step", side.optimizer)
        yield Expect(stepped, True, label="whether the optimizer was stepped")
        yield Call(scaler, "update")
        side.model.step(gradients)
        rule.end_round(overflow=False)
        got = yield Call(scaler, "get_scale")
        yield Expect(got, rule.value, label=f"scale after {number + 1} good rounds")
    got = yield Call(side.params, "values")
    yield Expect(got, _expected_values(side), label="parameters", exact=True)


@case("GradScaler", "overflow", public=1, hidden=4)
def overflow(draw: Draw) -> CaseSteps:
    """An inf or NaN in one gradient: no step, momentum stays, the scale halves, the count is 0."""
    rule = Scale(value=2.0**13, growth=2.0, backoff=draw.choice((0.5, 0.25)), interval=4)
    side = yield from new_side(_values(draw))
    scaler = yield _new_scaler(rule)
    first = draw.integer(1, 3)
    for number in range(first + 8):
        bad = number in (first, first + 2)
        gradients, arriving = _scaled(draw, rule.value)
        sent: Sequence[Tensor | None] = arriving
        if bad:
            sent = broken(draw, arriving, BROKEN[(draw.index + number) % len(BROKEN)])
        yield give(side, sent)
        stepped = yield Call(scaler, "step", side.optimizer)
        yield Expect(stepped, not bad, label="whether the optimizer was stepped")
        yield Call(scaler, "update")
        if not bad:
            side.model.step(gradients)
        rule.end_round(overflow=bad)
        got = yield Call(scaler, "get_scale")
        yield Expect(got, rule.value, label=f"scale after round {number + 1}")
        got = yield Call(side.params, "values")
        want = _expected_values(side)
        yield Expect(got, want, label=f"parameters after round {number + 1}", exact=True)


@case("GradScaler", "smallest_scale", hidden=2)
def smallest_scale(draw: Draw) -> CaseSteps:
    """However often it overflows, the scale does not fall below 1."""
    rule = Scale(value=draw.choice((2.0, 3.0)), growth=2.0, backoff=0.5, interval=9)
    side = yield from new_side(_values(draw))
    scaler = yield _new_scaler(rule)
    for _ in range(3):
        yield give(side, broken(draw, _values(draw), math.inf))
        yield Call(scaler, "step", side.optimizer)
        yield Call(scaler, "update")
        rule.end_round(overflow=True)
        got = yield Call(scaler, "get_scale")
        yield Expect(got, rule.value, label="scale")


@case("GradScaler", "unscale_once", public=2, hidden=3)
def unscale_once(draw: Draw) -> CaseSteps:
    """`unscale_` divides once: not again in `step`, and tied or shared parameters only once."""
    values = _values(draw)
    order = draw.choice(([0, 1, 0, 2], [2, 2, 1, 0]))
    params = yield New("harness:Parameters", values, order)
    one = yield New("harness:Momentum", params)
    other = yield New("harness:Momentum", params)
    scaler = yield New("GradScaler", init_scale=256.0)
    for _ in range(2):
        gradients, arriving = _scaled(draw, 256.0)
        yield Call(params, "set_gradients", [arriving[i] for i in order])
        if draw.index % 2:
            yield Call(scaler, "unscale_", one)
            got = yield Call(params, "gradients")
            want = [gradients[i] for i in order]
            yield Expect(got, want, label="gradients after unscale_", exact=True)
        for optimizer in (one, other):
            yield Call(scaler, "step", optimizer)
            got = yield Call(params, "gradients")
            want = [gradients[i] for i in order]
            yield Expect(got, want, label="gradients after step", exact=True)
        yield Call(scaler, "update")


@case("GradScaler", "two_optimizers", public=1, hidden=3)
def two_optimizers(draw: Draw) -> CaseSteps:
    """One of two optimizers overflows: only it skips, and the scale backs off once."""
    rule = Scale(value=2.0**10, growth=2.0, backoff=0.5, interval=3)
    sides = []
    for _ in range(2):
        side = yield from new_side(_values(draw))
        sides.append(side)
    scaler = yield _new_scaler(rule)
    bad_rounds = {0: (0,), 2: (1,), 3: (0, 1)}
    for number in range(5):
        for place, side in enumerate(sides):
            gradients, arriving = _scaled(draw, rule.value)
            bad = place in bad_rounds.get(number, ())
            yield give(side, broken(draw, arriving, -math.inf) if bad else arriving)
            if not bad:
                side.model.step(gradients)
        for place in draw.shuffled((0, 1)):
            stepped = yield Call(scaler, "step", sides[place].optimizer)
            want = place not in bad_rounds.get(number, ())
            yield Expect(stepped, want, label=f"whether optimizer {place} was stepped")
        yield Call(scaler, "update")
        rule.end_round(overflow=number in bad_rounds)
        got = yield Call(scaler, "get_scale")
        yield Expect(got, rule.value, label=f"scale after round {number + 1}")
    for place, side in enumerate(sides):
        got = yield Call(side.params, "values")
        label = f"parameters of optimizer {place}"
        yield Expect(got, _expected_values(side), label=label, exact=True)


@case("GradScaler", "no_gradients", hidden=2)
def no_gradients(draw: Draw) -> CaseSteps:
    """A round without any gradient changes nothing; a parameter without one is left out."""
    rule = Scale(value=64.0, growth=2.0, backoff=0.5, interval=2)
    side = yield from new_side(_values(draw))
    scaler = yield _new_scaler(rule)
    for present in (True, False, False, True, True, False):
        gradients, arriving = _scaled(draw, rule.value)
        missing = draw.integer(0, 2)
        sent = [g if present and i != missing else None for i, g in enumerate(arriving)]
        yield give(side, sent)
        yield Call(scaler, "step", side.optimizer)
        yield Call(scaler, "update")
        arrived = zip(gradients, sent, strict=True)
        side.model.step([g if s is not None else None for g, s in arrived])
        rule.end_round(overflow=False, had_gradient=present)
        state = yield Call(scaler, "state_dict")
        want = {"scale": rule.value, "good_rounds": rule.good_rounds}
        yield Expect(state, want, label="state")


@case("GradScaler", "save_and_load", hidden=2)
def save_and_load(draw: Draw) -> CaseSteps:
    """Scale and count move to another scaler, which goes on from there."""
    rule = Scale(value=2.0**9, growth=2.0, backoff=0.5, interval=4)
    side = yield from new_side(_values(draw))
    scaler = yield _new_scaler(rule)
    moved = draw.integer(1, 3)
    for number in range(7):
        if number == moved:
            state = yield Call(scaler, "state_dict")
            want = {"scale": rule.value, "good_rounds": rule.good_rounds}
            yield Expect(state, want, label="state")
            scaler = yield New("GradScaler", init_scale=8.0, growth_interval=rule.interval)
            yield Call(scaler, "load_state_dict", state)
        _, arriving = _scaled(draw, rule.value)
        yield give(side, arriving)
        yield Call(scaler, "step", side.optimizer)
        yield Call(scaler, "update")
        rule.end_round(overflow=False)
        got = yield Call(scaler, "get_scale")
        yield Expect(got, rule.value, label=f"scale after round {number + 1}")
    yield from _with_defaults(draw, side)


def _with_defaults(draw: Draw, side: Side) -> CaseSteps:
    """Save and load with the numbers that a scaler has when none are given."""
    scaler = yield New("GradScaler")
    got = yield Call(scaler, "state_dict")
    want = {"scale": 65536.0, "good_rounds": 0}
    yield Expect(got, want, label="state of a scaler for which no numbers are given")
    yield Call(scaler, "load_state_dict", {"scale": 512.0, "good_rounds": 1998})
    for want in ({"scale": 512.0, "good_rounds": 1999}, {"scale": 1024.0, "good_rounds": 0}):
        yield give(side, _values(draw))
        yield Call(scaler, "step", side.optimizer)
        yield Call(scaler, "update")
        got = yield Call(scaler, "state_dict")
        yield Expect(got, want, label="its state around round 2000")


@case("GradScaler", "scaled_loss", hidden=2)
def scaled_loss(draw: Draw) -> CaseSteps:
    """The scaled loss is float32 whatever the loss is: 2 · 65536 is inf in float16."""
    scaler = yield New("GradScaler", init_scale=draw.choice((1000.0, 65536.0)))
    scale = yield Call(scaler, "get_scale")
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        loss = draw.uniform_tensor(low=1.5, high=9.0).to(dtype)
        got = yield Call(scaler, "scale", loss)
        factor = scale if type(scale) is float else 0.0
        want = (loss.double() * factor).float()
        yield Expect(got, want, label=f"a loss of {dtype}, scaled")
        leaf = yield New("harness:Leaf", loss)
        got = yield Call(leaf, "gradient_of_scaled", scaler)
        want = torch.tensor(factor).to(dtype)
        yield Expect(got, want, label=f"its gradient for a loss of {dtype}", exact=True)


@case("GradScaler", "order_of_calls", hidden=1)
def order_of_calls(draw: Draw) -> CaseSteps:
    """What comes twice in a round, or ends a round that never began, raises RuntimeError.

    An optimizer that was made after another one has gone does not come twice.
    """
    side = yield from new_side(_values(draw))
    scaler = yield New("GradScaler", init_scale=4.0)
    yield Raises(Call(scaler, "update"), "RuntimeError", "update in a round without steps")
    for _ in range(2):
        gradients, arriving = _scaled(draw, 4.0)
        yield give(side, arriving)
        yield Call(scaler, "unscale_", side.optimizer)
        again = Call(scaler, "unscale_", side.optimizer)
        yield Raises(again, "RuntimeError", "unscale_ twice")
        yield Call(scaler, "step", side.optimizer)
        side.model.step(gradients)
        again = Call(scaler, "step", side.optimizer)
        yield Raises(again, "RuntimeError", "step twice")
        again = Call(scaler, "unscale_", side.optimizer)
        yield Raises(again, "RuntimeError", "unscale_ after step")
        got = yield Call(side.params, "values")
        yield Expect(got, _expected_values(side), label="parameters", exact=True)
        yield Call(scaler, "update")
    gradients, arriving = _scaled(draw, 4.0)
    yield give(side, [None, *arriving[1:]])
    yield Call(scaler, "unscale_", side.optimizer)
    yield give(side, arriving)
    again = Call(scaler, "unscale_", side.optimizer)
    yield Raises(again, "RuntimeError", "unscale_ again, with a gradient that came late")
    got = yield Call(side.params, "gradients")
    yield Expect(got, arriving, label="gradients after a refused unscale_", exact=True)
    yield Call(scaler, "update")
    yield give(side, arriving)
    yield Call("harness:unscale_one_by_one", scaler, side.params)
    got = yield Call(side.params, "gradients")
    label = "gradients that optimizers of one parameter each had, for one call each"
    yield Expect(got, gradients, label=label, exact=True)


@case("GradScaler", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Numbers out of range, float16 gradients, foreign states: ValueError, nothing moves."""
    bad_rules = [
        {"init_scale": 0.5},
        {"init_scale": 2.0**25},
        {"growth_factor": 1.0},
        {"backoff_factor": 1.0},
        {"backoff_factor": 0.0},
        {"growth_interval": 0},
    ]
    for rule in draw.shuffled(bad_rules):
        yield Raises(New("GradScaler", **rule), "ValueError", f"GradScaler with {rule}")
    scaler = yield New("GradScaler", init_scale=16.0)
    good = {"scale": 4.0, "good_rounds": 1}
    bad_states = [
        {"scale": 4.0},
        {**good, "growth": 2.0},
        {**good, "scale": 0.25},
        {**good, "scale": 2.0**25},
        {**good, "good_rounds": -1},
    ]
    for state in draw.shuffled(bad_states):
        step = Call(scaler, "load_state_dict", state)
        yield Raises(step, "ValueError", f"the state {state}")
    state = yield Call(scaler, "state_dict")
    want = {"scale": 16.0, "good_rounds": 0}
    yield Expect(state, want, label="state after refused states")
    halves = [whole(draw, 3), whole(draw, 2).half()]
    params = yield New("harness:Parameters", halves)
    optimizer = yield New("harness:Momentum", params)
    yield Call(params, "set_gradients", halves)
    for method in ("unscale_", "step"):
        step = Call(scaler, method, optimizer)
        yield Raises(step, "ValueError", f"{method} with a float16 gradient")
        got = yield Call(params, "gradients")
        yield Expect(got, halves, label=f"gradients after a refused {method}", exact=True)
    steps = yield Call(optimizer, "steps")
    yield Expect(steps, 0, label="steps taken")
