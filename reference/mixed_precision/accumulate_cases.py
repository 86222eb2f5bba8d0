"""Cases of `accumulate`.

Takes: `Draw`. Gives: case makers. Does not cover: steps.

Two models: the GPT in float32, whose gradients show every weighting mistake, and `Rows`, a single
product whose gradient in 16 bits is known exactly.
"""

import math

import torch

from grader.author import Call, CaseSteps, Draw, Expect, New, Raises, case

from .oracle import gpt_gradients
from .text import batch

Tensor = torch.Tensor
Pieces = list[tuple[Tensor, Tensor]]

SIZES = {"n_layers": 1, "n_heads": 2, "width": 16, "hidden": 21, "max_tokens": 16}
"""Of a GPT small enough for float64 on the judge's side."""


def _pieces(draw: Draw, rows: list[int], length: int) -> Pieces:
    """Return rows of text in pieces of these sizes."""
    tokens, targets = batch(draw.integer(0, 999), sum(rows), length)
    return list(zip(tokens.split(rows), targets.split(rows), strict=True))


def _uneven(draw: Draw) -> list[int]:
    """Return sizes of pieces, the last one short."""
    return [*draw.shuffled((4, 3, 2)), 1]


@case("accumulate", "large_batch", public=1, hidden=3)
def large_batch(draw: Draw) -> CaseSteps:
    """Uneven pieces, the last one short: loss and gradients are those of one large batch."""
    seed, scale = draw.integer(0, 99), (1024.0, 1.0, 64.0)[draw.index % 3]
    rows = [draw.integer(2, 5)] if draw.index == 1 else _uneven(draw)
    pieces = _pieces(draw, rows, draw.integer(5, 12))
    model = yield New("harness:TinyGPT", seed=seed, **SIZES)
    got = yield Call("accumulate", model, pieces, scale=scale)
    yield Expect(got, lambda: gpt_gradients(seed, SIZES, pieces), label="loss and gradients")


@case("accumulate", "ignored_targets", public=1, hidden=3)
def ignored_targets(draw: Draw) -> CaseSteps:
    """Targets of -100 do not count, so pieces weigh by what is left; one has nothing left."""
    seed = draw.integer(0, 99)
    pieces = _pieces(draw, [2, 2, 1, 3], draw.integer(6, 10))
    for number, (_, targets) in enumerate(pieces):
        targets[:, : 2 * number] = -100
    empty = draw.integer(0, 3)
    pieces[empty][1].fill_(-100)
    model = yield New("harness:TinyGPT", seed=seed, **SIZES)
    got = yield Call("accumulate", model, pieces)
    yield Expect(got, lambda: gpt_gradients(seed, SIZES, pieces), label="loss and gradients")


@case("accumulate", "float32_sums", hidden=3)
def float32_sums(draw: Draw) -> CaseSteps:
    """A piece of 256 and sixty of 0.9 in bfloat16: sums in bfloat16 lose the sixty."""
    width, small = draw.integer(1, 6), 60 + draw.integer(0, 5)
    sign = torch.where(draw.normal_tensor(1, width) > 0, 1.0, -1.0)
    weight = (draw.uniform_tensor(width, low=0.5, high=1.5) * sign[0]).to(torch.bfloat16)
    rows = [256.0 * sign, *[0.9 * sign] * small]
    pieces = [(row, torch.zeros(1, dtype=torch.int64)) for row in rows]
    model = yield New("harness:Rows", weight)
    got = yield Call("accumulate", model, pieces, scale=draw.choice((1.0, 256.0)))
    total = torch.cat(rows).bfloat16().double()
    want_loss = (total * weight.double()).sum(dim=-1).mean().float()
    want = (want_loss, [total.mean(dim=0).float(), None, None])
    yield Expect(got, want, label="loss and gradients")


@case("accumulate", "scaled", hidden=3)
def scaled(draw: Draw) -> CaseSteps:
    """Gradients near 1e-7 vanish in float16 unless the loss is scaled, and divided in float32."""
    width, factor = draw.integer(2, 6), draw.choice((1e-7, 3e-7))
    weight = draw.uniform_tensor(width, low=0.5, high=1.5, dtype=torch.float16)
    rows = [draw.uniform_tensor(n, width, low=0.25, high=1.0).half().float() for n in (2, 1, 3)]
    pieces = [(part, torch.zeros(len(part), dtype=torch.int64)) for part in rows]
    model = yield New("harness:Rows", weight, factor)
    got = yield Call("accumulate", model, pieces, scale=2.0**20)
    total = torch.cat(rows).double()
    want_loss = ((total * weight.double()).sum(dim=-1).mean() * factor).float()
    want = (want_loss, [(total.mean(dim=0) * factor).float(), None, None])
    yield Expect(got, want, label="loss and gradients")


@case("accumulate", "left_behind", hidden=2)
def left_behind(draw: Draw) -> CaseSteps:
    """Gradients of an earlier step are no part of the sum, and none are left behind."""
    width = draw.integer(1, 5)
    weight = draw.uniform_tensor(width, low=0.5, high=1.5)
    model = yield New("harness:Rows", weight)
    for value in (7.0, -3.0):
        rows = [draw.uniform_tensor(n, width, low=0.5, high=1.5) for n in (2, 3)]
        pieces = [(part, torch.zeros(len(part), dtype=torch.int64)) for part in rows]
        yield Call("harness:set_gradients_of", model, value)
        got = yield Call("accumulate", model, pieces)
        total = torch.cat(rows).double()
        want_loss = (total * weight.double()).sum(dim=-1).mean().float()
        want = (want_loss, [total.mean(dim=0).float(), None, None])
        yield Expect(got, want, label="loss and gradients")
        left = yield Call("harness:gradients_of", model)
        yield Expect(left, [None] * 3, label="grad of every parameter afterwards")
    got = yield Call("harness:state_of", model)
    want_state = {"weight": weight, "frozen": torch.ones(3), "unused": torch.ones(2)}
    yield Expect(got, want_state, label="parameters afterwards", exact=True)


@case("accumulate", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """No piece, nothing that counts, rows that do not match, scales out of range: ValueError."""
    width = draw.integer(1, 4)
    model = yield New("harness:Rows", draw.normal_tensor(width))
    inputs, targets = draw.normal_tensor(3, width), torch.zeros(3, dtype=torch.int64)
    ignored = torch.full((3,), -100)
    good = (inputs, targets)
    bad = [
        ("no piece", [], 1.0),
        ("no target that counts", [(inputs, ignored), (inputs, ignored)], 1.0),
        ("a target too few", [good, (inputs, targets[1:])], 1.0),
        ("a scale of 0", [good], 0.0),
        ("a negative scale", [good], -1.0),
        ("an infinite scale", [good], math.inf),
    ]
    yield Call("harness:set_gradients_of", model, 5.0)
    before = yield Call("harness:gradients_of", model)
    filled = [torch.full((width,), 5.0), None, torch.full((2,), 5.0)]
    yield Expect(before, filled, label="gradients of an earlier step", exact=True)
    for what, pieces, scale in draw.shuffled(bad):
        step = Call("accumulate", model, pieces, scale=scale)
        yield Raises(step, "ValueError", what)
    after = yield Call("harness:gradients_of", model)
    yield Expect(after, filled, label="gradients after refused calls", exact=True)
