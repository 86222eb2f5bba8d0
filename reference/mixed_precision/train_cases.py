"""Cases of `train`.

Takes: `Draw`. Gives: case makers. Does not cover: speed.

What must hold is a band around the losses of training in float32. Its width is measured: see the
tolerances in `README.md` of the assignment.
"""

from collections.abc import Iterator

import torch

from grader.assignment.steps import Value
from grader.author import Call, CaseSteps, Draw, Expect, New, Raises, case

from .oracle import HALVES, trained
from .text import batch
from .tiny_gpt import TinyGPT

Tensor = torch.Tensor
Batches = list[list[tuple[Tensor, Tensor]]]

SIZES = {"n_layers": 2, "n_heads": 2, "width": 24, "hidden": 37, "max_tokens": 16}
RULE = {"lr": 3e-4, "weight_decay": 0.1, "max_norm": 1.0}
"""A rate at which a step is a fraction of a bfloat16's last place: without masters it is lost."""
STEPS = 30


def _batches(draw: Draw, steps: int) -> Batches:
    """Return batches of six rows in pieces of 3, 2 and 1."""
    first, found = draw.integer(0, 999), []
    for step in range(steps):
        tokens, targets = batch(first + step, 6, 16)
        found.append(list(zip(tokens.split((3, 2, 1)), targets.split((3, 2, 1)), strict=True)))
    return found


def _curve(draw: Draw, low: torch.dtype) -> CaseSteps:
    seed, batches = draw.integer(0, 99), _batches(draw, STEPS)
    model = yield New("harness:TinyGPT", seed=seed, **SIZES)
    got = yield Call("train", model, batches, low=low, init_scale=1024.0, **RULE)
    yield Expect(got, lambda: trained(seed, SIZES, batches, **RULE), label="loss of every step")


@case("train", "loss_curve", hidden=2)
def loss_curve(draw: Draw) -> CaseSteps:
    """30 steps in bfloat16: every loss lies within 1 % of the largest of float32's."""
    yield from _curve(draw, torch.bfloat16)


@case("train", "loss_curve_half", hidden=2)
def loss_curve_half(draw: Draw) -> CaseSteps:
    """30 steps in float16: within 0.1 %, which bfloat16 does not reach."""
    yield from _curve(draw, torch.float16)


def _curves_with_skips(losses: Tensor) -> Iterator[Tensor]:
    """Yield what the losses may look like if steps are skipped until the scale fits.

    How many come first hangs on rounding. One more may come later: gradients grow a little, and
    a scale that just fitted does not fit any more (in 4 of 100 seeds, of 2400). Two would
    ask for gradients that grow to twice as much, which none did.
    """
    steps = len(losses)
    at = torch.arange(steps)
    for first in range(steps - 4):
        for late in range(first + 1, steps):
            yield losses[(at - first - (at > late).long()).clamp(min=0)]


@case("train", "overflow", hidden=2)
def overflow(draw: Draw) -> CaseSteps:
    """A scale too large for float16: steps are skipped until it fits, and leave no trace."""
    seed, steps = draw.integer(0, 99), 16
    tokens, targets = batch(draw.integer(0, 999), 4, 12)
    batches: Batches = [[(tokens, targets)]] * steps
    model = yield New("harness:TinyGPT", seed=seed, **SIZES)
    rule = {**RULE, "lr": 1e-3}
    got = yield Call("train", model, batches, low=torch.float16, init_scale=2.0**24, **rule)

    def want() -> Value:
        losses = trained(seed, SIZES, batches, **rule)
        if not isinstance(got, Tensor) or got.shape != losses.shape:
            return losses
        curves = _curves_with_skips(losses)
        return min(curves, key=lambda curve: float((got.double() - curve).abs().max()))

    yield Expect(got, want, label="loss of every step")


@case("train", "parameters", public=2, hidden=2)
def parameters(draw: Draw) -> CaseSteps:
    """All parameters are low; frozen and unused ones were only rounded; tied ones are tied."""
    seed, low = draw.integer(0, 99), HALVES[draw.index % 2]
    model = yield New("harness:TinyGPT", seed=seed, **SIZES)
    rule = {**RULE, "weight_decay": 50.0}  # 1.5 % a step: more than a last place
    yield Call("train", model, _batches(draw, 2), low=low, init_scale=256.0, **rule)
    before = dict(TinyGPT(seed=seed, **SIZES).named_parameters())
    dtypes = yield Call("harness:dtypes_of", model)
    yield Expect(dtypes, [str(low)] * len(before), label="dtypes of all parameters")
    frozen = yield Call("harness:frozen_in", model)
    yield Expect(frozen, ["positions"], label="frozen parameters")
    still = ["positions", "branch.weight", "branch.bias"]
    got = yield Call("harness:numbers_of", model, still)
    want = [before[name].detach().to(low) for name in still]
    yield Expect(got, want, label=f"{', '.join(still)}: no gradient", exact=True)


@case("train", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """A low dtype that is none raises ValueError, and the model is as it was."""
    seed = draw.integer(0, 99)
    model = yield New("harness:TinyGPT", seed=seed, **SIZES)
    for low in draw.shuffled((torch.float32, torch.float64)):
        step = Call("train", model, _batches(draw, 1), low=low)
        yield Raises(step, "ValueError", f"low={low}")
    state = yield Call("harness:state_of", model)
    before = dict(TinyGPT(seed=seed, **SIZES).named_parameters())
    want = {name: p.detach() for name, p in before.items()}
    yield Expect(state, want, label="parameters after refused calls", exact=True)
