"""Cases of `accumulate`.

Takes: `Draw`. Gives: case makers. Does not cover: steps.

Two models: the GPT in float32, whose gradients show every weighting mistake, and `Rows`, a single
product whose gradient in 16 bits is known exactly.
"""

import math

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

from .inputs import LAYOUTS, laid_out
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
    """Gradients near 1e-7 vanish in float16 unless the loss is scaled, and divided in float32.

    Without a scale, a gradient near float16's largest number is there: nothing was multiplied.
    """
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
    factor, row = 4e4, torch.ones(1, width)
    large = yield New("harness:Rows", weight, factor)
    got = yield Call("accumulate", large, [(row, torch.zeros(1, dtype=torch.int64))])
    want = ((weight.double().sum() * factor).float(), [factor * row[0], None, None])
    yield Expect(got, want, label="loss and large gradients, no scale given")


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
        ("a scale that is no number", [good], math.nan),
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


KINDS = (torch.float32, torch.bfloat16, torch.float16)
UNEVEN = "of 3, 1 and 3 rows"
PIECES = {
    "of 1, 2, 1 and 4 rows": (1, 2, 1, 4),
    "one": (4,),
    "one row each": (1, 1),
    "one row": (1,),
    "the first has nothing that counts": (2, 1, 2, 1),
    "the last has nothing that counts": (1, 2, 1, 2),
    UNEVEN: (3, 1, 3),
}
"""Rows of the pieces. But for uneven ones, as many count as a power of two: shares are exact."""

ACCUMULATION = Factors(
    "accumulate",
    {
        "dtype": KINDS,
        "pieces": tuple(PIECES),
        "ignored": ("no other target", "half of the targets"),
        "scale": (1024.0, 1.0, 2.0**-4, 3.0),
        "factor": (1.0, -2.0),
        "loss in": (torch.float32, torch.bfloat16),
        "width": (3, 1, 65),
        "view of inputs": LAYOUTS,
        "view of targets": LAYOUTS,
        "shape of frozen": ((2, 2), (), (0,)),
        "grad before": ("none", "of every parameter, frozen ones too"),
    },
    excluded=(
        Excluded(
            "in 16 bits a scale of 3 is not exact",
            lambda row: row["scale"] == 3.0 and row["dtype"] is not torch.float32,
        ),
        Excluded(
            "a loss in 16 bits has a rounding of its own, and so has 3 times a share of it",
            lambda row: row["scale"] == 3.0 and row["loss in"] is not torch.float32,
        ),
        Excluded(
            "float16 has no larger range than its losses",
            lambda row: row["width"] == 65 and row["dtype"] is torch.float16,
        ),
    ),
)


def _whole(draw: Draw, row: Row, *shape: int, most: int) -> Tensor:
    """Return whole numbers; positive ones for uneven pieces: of a loss of 0 any share is exact."""
    drawn = draw.integer_tensor(*shape, low=-most, high=most).float()
    return drawn.abs() + 1 if row["pieces"] == UNEVEN else drawn


def _row_pieces(draw: Draw, row: Row) -> Pieces:
    """Return inputs [B, 2, C] and targets [B, 2] of each piece, small whole numbers."""
    rows, pieces = PIECES[row["pieces"]], Pieces()
    wide = row["dtype"] is not torch.float16  # in which scaled gradients would overflow
    for number, count in enumerate(rows):
        # Each piece is exact in 16 bits; their sum has more.
        inputs = _whole(draw, row, count, 2, row["width"], most=7) * (
            64.0 ** (number % 2) if wide else 1
        )
        targets = draw.integer_tensor(count, 2, low=0, high=9)
        if row["ignored"] == "half of the targets":
            targets[torch.arange(count), draw.integer_tensor(count, low=0, high=1)] = -100
        pieces.append((inputs, targets))
    if "nothing" in row["pieces"]:
        pieces[0 if "first" in row["pieces"] else -1][1].fill_(-100)
    return [
        (laid_out(x, row["view of inputs"]), laid_out(y, row["view of targets"])) for x, y in pieces
    ]


def _first(got: Value) -> Value:
    return got[0] if isinstance(got, tuple | list) and got else got


def _of_parts(
    row: Row, weights: list[Tensor], pieces: Pieces
) -> tuple[Tensor, list[Tensor | None]]:
    """Return loss and gradients of `harness:Parts`, in the order of its parameters."""
    one, other, late = (w.double() for w in weights)
    counts = [int((y != -100).sum()) for _, y in pieces]
    loss, common, rare = torch.zeros((), dtype=torch.float64), torch.zeros(row["width"]), None
    for (x, y), count in zip(pieces, counts, strict=True):
        if not count:
            continue
        kept, share = x[y != -100].double(), count / sum(counts)
        weight = one + other + late if len(x) > 1 else one + other
        mean = (kept * weight).sum(dim=-1).mean() * row["factor"]
        loss = loss + mean.to(row["loss in"]).double() * share
        gradient = (kept.mean(dim=0) * row["factor"] * share).float()
        common = common + gradient
        if len(x) > 1:
            rare = gradient if rare is None else rare + gradient
    return loss.float(), [None, common, rare, common]


@case("accumulate", "combinations", public=3, hidden=6, factors=ACCUMULATION)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, pieces with their own parameters, ignored targets, old gradients.

    All numbers but shares of 3/7 are exact in 16 bits. Two parameters have one gradient, which
    autograd may return as a single tensor; a third one has none in pieces of one row; a fourth one
    is frozen.
    """
    most = 50 if row["dtype"] is torch.float32 else 2
    weights = [_whole(draw, row, row["width"], most=most) for _ in range(3)]
    values = [w.to(row["dtype"]) for w in (*weights, torch.ones(row["shape of frozen"]))]
    pieces = _row_pieces(draw, row)
    model = yield New("harness:Parts", values, row["factor"], row["loss in"])
    if row["grad before"] != "none":
        yield Call("harness:set_all_gradients_of", model, 3.0)
    got = yield Call("accumulate", model, pieces, scale=row["scale"])
    want = _of_parts(row, weights, pieces)
    if row["pieces"] == UNEVEN and {row["dtype"], row["loss in"]} != {torch.float32}:
        # A gradient may meet a share of 3/7 in 16 bits; the loss is float32 and meets it there.
        yield Expect(_first(got), want[0], label="loss")
    else:
        yield Expect(got, want, label="loss and gradients")
    left = yield Call("harness:gradients_of", model)
    yield Expect(left, [None] * 4, label="grad of every parameter afterwards")
    alive = yield Call(model, "most_alive")
    yield Expect(alive, 1, label="pieces whose graph was alive at a time")
    once = yield Call(model, "calls_at_most", len(pieces))
    yield Expect(once, True, label="whether each loss was asked for at most once")
    state = yield Call("harness:state_of", model)
    names = ("one", "other", "late", "frozen")
    yield Expect(state, dict(zip(names, values, strict=True)), label="parameters", exact=True)
