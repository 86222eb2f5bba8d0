"""Cases of `train`.

Takes: `Draw`. Gives: case makers. Does not cover: speed.

What must hold is a band around the losses of training in float32. Its width is measured: see the
tolerances in `README.md` of the assignment.
"""

import math
from collections.abc import Iterator

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
    Row,
    case,
)

from .oracle import HALVES, cast_dtype, global_norm, trained
from .text import batch
from .tiny_gpt import TinyGPT, run

Tensor = torch.Tensor
Batches = list[list[tuple[Tensor, Tensor]]]

SIZES = {"n_layers": 2, "n_heads": 2, "width": 24, "hidden": 37, "max_tokens": 16}
SMALL = {"n_layers": 1, "n_heads": 2, "width": 16, "hidden": 19, "max_tokens": 8}
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
    """A scale too large for float16: steps are skipped until it fits, and leave no trace.

    Then a model that overflows when it likes, and notes what its losses were multiplied by.
    """
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
    yield from _scales(draw)


def _one_target(draw: Draw) -> list[tuple[Tensor, Tensor]]:
    """Return a batch of one piece with one target: its share of the mean is 1."""
    return [batch(draw.integer(0, 999), 1, 1)]


def _scales(draw: Draw) -> CaseSteps:
    seed, batches = draw.integer(0, 99), [_one_target(draw) for _ in range(8)]
    model = yield New("harness:OverflowingGPT", [1, 3, 4, 5, 6], seed=seed, **SMALL)
    yield Call("train", model, batches, low=torch.float16, init_scale=8.0)
    got = yield Call(model, "scales")
    want = [8.0, 8.0, 4.0, 4.0, 2.0, 1.0, 1.0, 1.0]
    yield Expect(got, want, label="scales of eight steps, of which 1, 3, 4, 5 and 6 overflow")
    model = yield New("harness:OverflowingGPT", [], seed=seed, **SMALL)
    yield Call("train", model, batches[:1], low=torch.float16)
    got = yield Call(model, "scales")
    yield Expect(got, [65536.0], label="scale of the first step, none given")


@case("train", "parameters", public=2, hidden=2)
def parameters(draw: Draw) -> CaseSteps:
    """All parameters are low; frozen and unused ones were only rounded; tied ones are tied.

    Numbers that are not given are those of the starter.
    """
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
    yield from _defaults(draw)


def _defaults(draw: Draw) -> CaseSteps:
    seed, names = draw.integer(0, 99), ["embed.weight", "norm_out.weight"]
    model = yield New("harness:TinyGPT", seed=seed, **SMALL)
    yield Call("train", model, [_one_target(draw)] * 2, lr=50.0, max_norm=1e-30)
    got = yield Call("harness:numbers_of", model, names)
    before = dict(TinyGPT(seed=seed, **SMALL).named_parameters())
    want = [before[name].detach().bfloat16() / 4 for name in names]
    label = "weights after two steps of decay alone, 50 * 0.01 = 1/2 each, in bfloat16"
    yield Expect(got, want, label=label, exact=True)
    pieces = _one_target(draw)
    model = yield New("harness:SteepGPT", seed=seed, **SMALL)
    yield Call("train", model, [pieces], low=torch.float16, init_scale=1.0)
    got = yield Call("harness:numbers_of", model, ["norm_out.bias"])
    label = "norm_out.bias after a step, clipped to 1 beside a gradient of 32768"
    yield Expect(got, lambda: [_small_step(seed, *pieces[0])], label=label)


def _small_step(seed: int, tokens: Tensor, targets: Tensor) -> Tensor:
    """Return `norm_out.bias` of a `harness:SteepGPT` after its first step: rate 1e-3, norm 1."""
    model = TinyGPT(seed=seed, **SMALL).half().double()
    logits = model(tokens).flatten(0, 1)
    (torch.nn.functional.cross_entropy(logits, targets.flatten()) / 128).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    clipped = model.norm_out.bias.grad / math.hypot(global_norm(gradients), 32768.0)
    return (-1e-3 * clipped / (clipped.abs() + 1e-8)).half()


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


TRAINING = Factors(
    "train",
    {
        "low": HALVES,
        "pieces": ((4, 1), (5,), (2, 2, 1)),
        "ignored": ("no target", "some targets", "all of one piece"),
        "init_scale": (256.0, 1.0, 2.0**24),
        "max_norm": (1.0, math.inf, 0.0),
        "weight_decay": (0.1, 0.0, "left out"),
        "lr": (3e-4, 0.0),
        "steps": (3, 1),
        "grad before": ("none", "of every parameter that wants one"),
    },
    excluded=(
        Excluded(
            "with a rate of 0 nobody sees the norm, nor whether a step is skipped",
            lambda row: (
                row["lr"] == 0.0 and (row["max_norm"] != 1.0 or row["init_scale"] == 2.0**24)
            ),
        ),
        Excluded(
            "a step that is skipped is not clipped",
            lambda row: row["init_scale"] == 2.0**24 and row["max_norm"] != 1.0,
        ),
        Excluded(
            "a piece without targets is one of several",
            lambda row: row["ignored"] == "all of one piece" and len(row["pieces"]) == 1,
        ),
    ),
)


def _row_batches(draw: Draw, row: Row) -> Batches:
    batches: Batches = []
    for step in range(row["steps"]):
        tokens, targets = batch(draw.integer(0, 999) + step, 5, 8)
        if row["ignored"] == "some targets":
            targets[:, ::3] = -100
        parts = zip(tokens.split(row["pieces"]), targets.split(row["pieces"]), strict=True)
        pieces = [(x, y.clone()) for x, y in parts]
        if row["ignored"] == "all of one piece":
            pieces[-1][1].fill_(-100)
        batches.append(pieces)
    return batches


def _seen(seed: int, row: Row, tokens: Tensor, targets: Tensor) -> list[str]:
    """Return the dtypes of all results of a piece under the policy."""
    model = TinyGPT(seed=seed, **SMALL).to(row["low"])
    found: list[str] = []

    def apply(op: str, *args: object, **keywords: object) -> Tensor:
        given = (*args, *keywords.values())
        floats = [x for x in given if isinstance(x, Tensor) and x.is_floating_point()]
        dtype = cast_dtype(op, [x.dtype for x in floats], row["low"])

        def cast(x: object) -> object:
            return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x

        result = run(op, *map(cast, args), **{k: cast(x) for k, x in keywords.items()})
        found.append(f"{op}: {result.dtype}")
        return result

    with torch.no_grad():
        model.loss(tokens, targets, apply=apply)
    return found


def _expected_losses(seed: int, row: Row, batches: Batches, rule: dict[str, float]) -> Tensor:
    """Return float32's losses; of a scale that always overflows, those of an untouched model."""
    skipped = row["low"] is torch.float16 and row["init_scale"] == 2.0**24
    used = {**rule, "lr": 0.0} if skipped else rule
    return trained(seed, SMALL, batches, **used)


@case("train", "combinations", public=2, hidden=3, factors=TRAINING)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: pieces, ignored targets, scales, norms and rates of 0; what ran how.

    The model notes the dtype of every operation's result: losses run under the policy. With a rate
    or a norm of 0, or where every step overflows, parameters are exactly the converted ones: decay
    is less than half of a last place.
    """
    seed, batches = draw.integer(0, 99), _row_batches(draw, row)
    given = {"lr": row["lr"], "max_norm": row["max_norm"]}
    if row["weight_decay"] != "left out":
        given["weight_decay"] = row["weight_decay"]
    model = yield New("harness:RecordedGPT", seed=seed, **SMALL)
    if row["grad before"] != "none":
        yield Call("harness:set_gradients_of", model, 9.0)
    keywords = {"low": row["low"], "init_scale": row["init_scale"], **given}
    got = yield Call("train", model, batches, **keywords)
    rule = {"weight_decay": 0.01, **given}
    yield Expect(got, lambda: _expected_losses(seed, row, batches, rule), label="loss of each step")
    seen = yield Call(model, "seen")
    want = [_seen(seed, row, *batches[0][0])]
    yield Expect(seen, want, label="dtypes of all results, the same for each piece")
    once = yield Call(model, "calls_at_most", sum(map(len, batches)))
    yield Expect(once, True, label="whether each loss was asked for at most once")
    same = yield Call(model, "has_its_parameters")
    yield Expect(same, True, label="whether all parameters are the same objects, tied ones tied")
    state = yield Call("harness:state_of", model)
    before = {
        n: p.detach().to(row["low"]) for n, p in TinyGPT(seed=seed, **SMALL).named_parameters()
    }
    overflows = row["low"] is torch.float16 and row["init_scale"] == 2.0**24
    if row["lr"] == 0.0 or row["max_norm"] == 0.0 or overflows:
        yield Expect(state, before, label="parameters, which did not move", exact=True)
        return
    moved = yield Call(model, "has_moved")
    yield Expect(moved, True, label="whether the embedding moved")
