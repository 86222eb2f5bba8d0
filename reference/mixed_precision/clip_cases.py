"""Cases of `clip_and_step`.

Takes: `Draw`. Gives: case makers. Does not cover: the scaler that a scale comes from.
"""

import math
from collections.abc import Generator, Sequence

import torch

from grader.assignment.steps import Step, Value
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

from .inputs import (
    BROKEN,
    LAYOUTS,
    Side,
    broken,
    far_from_ties,
    give,
    laid_out,
    new_side,
    shapes,
    strided,
    whole,
)
from .oracle import Momentum, global_norm

Tensor = torch.Tensor
Gradients = Sequence[Tensor | None]


def _clipped(gradients: Gradients, norm: float, max_norm: float) -> list[Tensor | None]:
    factor = max_norm / norm if norm > max_norm else 1.0
    return [None if g is None else (g.double() * factor).to(g.dtype) for g in gradients]


def _step_and_compare(
    side: Side, gradients: Gradients, *, scale: float, max_norm: float
) -> Generator[Step, Value, None]:
    """Give gradients times the scale, step, and compare norm, gradients and parameters."""
    yield give(side, [None if g is None else g * scale for g in gradients])
    norm = global_norm(gradients)
    got = yield Call("clip_and_step", side.optimizer, scale, max_norm)
    yield Expect(got, (torch.tensor(norm).float(), True), label="norm and whether it stepped")
    want = _clipped(gradients, norm, max_norm)
    got = yield Call(side.params, "gradients")
    yield Expect(got, want, label="gradients after the step")
    side.model.step(want)
    got = yield Call(side.params, "values")
    yield Expect(got, [v.float() for v in side.model.values], label="parameters after the step")


@case("clip_and_step", "clips", public=1, hidden=3)
def clips(draw: Draw) -> CaseSteps:
    """Unscaled gradients whose norm is too large are clipped together; smaller ones stay."""
    # Away from 0, where the difference of weight and step would have few digits left.
    values = [strided(draw, size) + 8.0 for size in shapes(draw, 5)]
    side = yield from new_side(values)
    scale = draw.choice((2.0**16, 2.0**11, 1000.0))
    for step, share in enumerate(draw.shuffled((0.25, 0.9, 1.5, math.inf))):
        gradients: list[Tensor | None] = [strided(draw, tuple(v.shape)) for v in values]
        gradients[(draw.index + step) % len(gradients)] = None
        max_norm = share * global_norm(gradients)
        yield from _step_and_compare(side, gradients, scale=scale, max_norm=max_norm)


@case("clip_and_step", "overflow", public=1, hidden=4)
def overflow(draw: Draw) -> CaseSteps:
    """An inf or NaN in one gradient: the norm is inf, no step, and momentum does not move."""
    values = [whole(draw, *size) for size in ((2, 2), (3,), (1,))]
    side = yield from new_side(values)
    for number in range(4):
        gradients: list[Tensor | None] = [whole(draw, *value.shape) for value in values]
        gradients[0] = torch.ones(2, 2) if gradients[0] is None else gradients[0].abs() + 1
        if number in (1, 2):
            value = BROKEN[(draw.index + number) % len(BROKEN)]
            yield give(side, broken(draw, gradients, value))
            got = yield Call("clip_and_step", side.optimizer, 8.0, 1.0)
            yield Expect(got, (torch.tensor(math.inf), False), label="norm and whether it stepped")
            got = yield Call(side.params, "values")
            want = [v.float() for v in side.model.values]
            yield Expect(got, want, label="parameters after an overflow")
        else:
            yield from _step_and_compare(side, gradients, scale=8.0, max_norm=1.0)
    steps = yield Call(side.optimizer, "steps")
    yield Expect(steps, 2, label="steps taken")


@case("clip_and_step", "overflow_by_unscaling", hidden=2)
def overflow_by_unscaling(draw: Draw) -> CaseSteps:
    """With a scale below 1 a finite gradient overflows when it is divided: then, too, no step."""
    values = [whole(draw, 3), whole(draw, 2)]
    side = yield from new_side(values)
    gradients = [whole(draw, 3), torch.tensor([1.0, draw.choice((3e36, -2e37))])]
    yield give(side, gradients)
    got = yield Call("clip_and_step", side.optimizer, 2.0**-10, (1.0, math.inf)[draw.index % 2])
    yield Expect(got, (torch.tensor(math.inf), False), label="norm and whether it stepped")
    got = yield Call(side.params, "values")
    yield Expect(got, values, label="parameters", exact=True)


@case("clip_and_step", "zero_norm", hidden=2)
def zero_norm(draw: Draw) -> CaseSteps:
    """All gradients zero, or none at all: the norm is 0, a step is taken, nothing becomes NaN."""
    values = [whole(draw, 2, 2), whole(draw, 3)]
    side = yield from new_side(values)
    zeros: list[Tensor | None] = [torch.zeros(2, 2), torch.zeros(3)]
    for gradients in draw.shuffled((zeros, [None, None], [None, zeros[1]])):
        max_norm = draw.choice((0.0, 1.0))
        yield from _step_and_compare(side, gradients, scale=4.0, max_norm=max_norm)
    steps = yield Call(side.optimizer, "steps")
    yield Expect(steps, 3, label="steps taken")


@case("clip_and_step", "large_squares", hidden=2)
def large_squares(draw: Draw) -> CaseSteps:
    """Squares of 1e25 leave float32's range, the norm does not; squares of 1e-25 vanish in it."""
    values = [whole(draw, 4), whole(draw, 2, 3)]
    for size in draw.shuffled((1e25, 1e-25)):
        side = yield from new_side(values)
        gradients = [draw.uniform_tensor(4, low=0.5) * size, draw.normal_tensor(2, 3) * size]
        max_norm = 0.5 * global_norm(gradients)
        yield from _step_and_compare(side, gradients, scale=4.0, max_norm=max_norm)


@case("clip_and_step", "tied", hidden=2)
def tied(draw: Draw) -> CaseSteps:
    """A parameter that stands in the list twice is divided, counted and clipped once."""
    values = [whole(draw, 3), whole(draw, 2)]
    order = draw.choice(([0, 1, 0], [1, 1, 0]))
    params = yield New("harness:Parameters", values, order)
    optimizer = yield New("harness:Momentum", params)
    gradients = [draw.normal_tensor(3), draw.normal_tensor(2)]
    norm = global_norm(gradients)
    max_norm = 0.5 * norm
    yield Call(params, "set_gradients", [gradients[i] * 32.0 for i in order])
    got = yield Call("clip_and_step", optimizer, 32.0, max_norm)
    yield Expect(got, (torch.tensor(norm).float(), True), label="norm and whether it stepped")
    want = _clipped(gradients, norm, max_norm)
    got = yield Call(params, "gradients")
    yield Expect(got, [want[i] for i in order], label="gradients after the step")


@case("clip_and_step", "half_gradients", hidden=2)
def half_gradients(draw: Draw) -> CaseSteps:
    """A long bfloat16 gradient: one large entry and many of the same small size.

    4096 squares of 1 beside one of 64² double the sum; a sum in bfloat16 loses all of them.
    """
    count = 4096 + draw.integer(1, 99)
    signs = draw.integer_tensor(count, low=0, high=1) * 2.0 - 1.0
    gradient = signs.to(torch.bfloat16)
    gradient[0] = 64.0
    value = torch.zeros(count, dtype=torch.bfloat16)
    params = yield New("harness:Parameters", [value])
    optimizer = yield New("harness:Momentum", params)
    norm = global_norm([gradient])
    max_norm = norm * draw.choice((0.3, 0.7))
    yield Call(params, "set_gradients", [gradient * 16.0])
    got = yield Call("clip_and_step", optimizer, 16.0, max_norm)
    yield Expect(got, (torch.tensor(norm).float(), True), label="norm and whether it stepped")
    got = yield Call(params, "gradients")
    yield Expect(got, _clipped([gradient], norm, max_norm), label="gradients after the step")


@case("clip_and_step", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Scales and norms out of range and float16 gradients raise ValueError; nothing moves."""
    values = [whole(draw, 3), whole(draw, 2)]
    side = yield from new_side(values)
    gradients = [whole(draw, 3) + 0.5, whole(draw, 2) + 0.5]
    yield give(side, gradients)
    bad = [(0.0, 1.0), (-2.0, 1.0), (math.inf, 1.0), (math.nan, 1.0), (2.0, -1.0), (2.0, math.nan)]
    for scale, max_norm in draw.shuffled(bad):
        step = Call("clip_and_step", side.optimizer, scale, max_norm)
        yield Raises(step, "ValueError", f"scale {scale}, max_norm {max_norm}")
    got = yield Call(side.params, "gradients")
    yield Expect(got, gradients, label="gradients after refused calls", exact=True)
    for kind in (torch.float16, torch.float64):
        others = [whole(draw, 3), whole(draw, 2).to(kind)]
        params = yield New("harness:Parameters", others)
        optimizer = yield New("harness:Momentum", params)
        yield Call(params, "set_gradients", others)
        step = Call("clip_and_step", optimizer, 2.0, 1.0)
        yield Raises(step, "ValueError", f"a gradient in {kind}")
        got = yield Call(params, "gradients")
        yield Expect(got, others, label="gradients after a refused call", exact=True)


CLIPPING = Factors(
    "clip_and_step",
    {
        "dtype": (torch.float32, torch.bfloat16, "both"),
        "shape": ((3, 4), (), (1,), (0, 3), (1, 5), (2, 1030)),
        "view of gradients": LAYOUTS,
        "view of parameters": LAYOUTS,
        "gradients": ("all", "one missing", "none", "one tied"),
        "scale": (65536.0, 1.0, 3.0, 2.0**-10),
        "max_norm": ("half the norm", "twice the norm", math.inf, 0.0, "near 1e-10"),
        "numbers": ("near 10", "near 1e36", "near 1e-29", "all 0"),
        "overflow": ("none", *map(str, BROKEN)),
        "place": ("first entry", "last entry"),
    },
    excluded=(
        Excluded(
            "times 65536, numbers near 1e36 are no float32 any more",
            lambda row: row["scale"] == 65536.0 and row["numbers"] == "near 1e36",
        ),
        Excluded(
            "without an overflow it is in no entry",
            lambda row: row["overflow"] == "none" and row["place"] != "first entry",
        ),
        Excluded(
            "gradients that are not there have no strides",
            lambda row: row["gradients"] == "none" and row["view of gradients"] != "contiguous",
        ),
        Excluded(
            "after an overflow nobody asks for max_norm",
            lambda row: row["overflow"] != "none" and row["max_norm"] != "half the norm",
        ),
        Excluded(
            "of gradients that are not there, no numbers and no norm are seen",
            lambda row: (
                row["gradients"] == "none"
                and (row["numbers"] != "near 10" or row["max_norm"] != "half the norm")
            ),
        ),
        Excluded(
            "there is no entry that could overflow",
            lambda row: row["overflow"] != "none" and row["gradients"] == "none",
        ),
    ),
)
_SIZES = {"near 10": 1.0, "near 1e36": 2.0**116, "near 1e-29": 2.0**-100, "all 0": 0.0}


def _kinds(row: Row) -> list[torch.dtype]:
    """Return the dtypes of the three parameters; the first one has the shape of the row."""
    if row["dtype"] == "both":
        return [torch.bfloat16, torch.float32, torch.bfloat16]
    return [row["dtype"]] * 3


def _arriving_and_divided(draw: Draw, row: Row) -> tuple[list[Tensor], list[Tensor]]:
    """Return gradients as they arrive, and divided by the scale, rounded to their dtypes.

    They are whole numbers of four bits. Divided by 3 they lie far from the middle of two numbers.
    """
    exact = row["scale"] != 3.0
    arriving = []
    for size, kind in zip((row["shape"], (4,), (2, 3)), _kinds(row), strict=True):
        numbers = whole(draw, *size) * _SIZES[row["numbers"]] * (row["scale"] if exact else 1.0)
        arriving.append(numbers.to(kind))
    return arriving, [(g.float() / row["scale"]).to(g.dtype) for g in arriving]


def _draw_max_norm(draw: Draw, row: Row, gradients: Gradients, norm: float) -> float:
    """Return a max_norm as the row wants it, with which no clipped gradient is near a tie."""
    wanted, chosen = row["max_norm"], 0.0
    if not isinstance(wanted, str):
        return float(wanted)
    if norm == math.inf:
        return 1.0
    while True:
        share = 0.4 + 0.2 * draw.uniform()
        chosen = {"half the norm": norm, "twice the norm": 4 * norm}.get(wanted, 2e-10) * share
        factor = chosen / norm if norm > chosen else 1.0
        if all(g is None or far_from_ties(g.double() * factor) for g in gradients):
            return chosen


@case("clip_and_step", "combinations", public=3, hidden=6, factors=CLIPPING)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, strides, sizes, scales, norms from 0 to 1e37, overflows.

    Gradients in bfloat16 are compared bit for bit: each is rounded once when it is divided, and
    once when it is clipped. The factor may be smaller than any float32.
    """
    arriving, divided = _arriving_and_divided(draw, row)
    order = [0, 1, 2, 0] if row["gradients"] == "one tied" else [0, 1, 2]
    gone = {"none": (0, 1, 2), "one missing": (2,)}.get(row["gradients"], ())
    bad, first = row["overflow"] != "none", row["place"] == "first entry"
    if bad:
        able = [i for i, g in enumerate(divided) if i not in gone and g.numel()]
        place = able[0 if first else -1]
        for g in (arriving[place], divided[place]):
            g.view(-1)[0 if first else -1] = float(row["overflow"])
    present: list[Tensor | None] = [None if i in gone else g for i, g in enumerate(divided)]
    norm = math.inf if bad else global_norm(present)
    max_norm = _draw_max_norm(draw, row, present, norm)
    view = row["view of gradients"]
    sent = [None if i in gone else laid_out(g, view) for i, g in enumerate(arriving)]
    values = [
        laid_out(whole(draw, *g.shape).to(g.dtype), row["view of parameters"]) for g in arriving
    ]
    params = yield New("harness:Parameters", values, order)
    optimizer = yield New("harness:Momentum", params)
    yield Call(params, "set_gradients", [sent[i] for i in order])
    got = yield Call("clip_and_step", optimizer, row["scale"], max_norm)
    yield Expect(got, (torch.tensor(norm).float(), not bad), label="norm and whether it stepped")
    want = present if bad else _clipped(present, norm, max_norm)
    got = yield Call(params, "gradients")
    for place, i in enumerate(order):
        exact = arriving[i].dtype is torch.bfloat16
        yield Expect(got[place], want[i], label=f"gradient {place} afterwards", exact=exact)
    model = Momentum(values)
    if not bad:
        model.step(want)
    got = yield Call(params, "values")
    moved = [v.to(old.dtype) for v, old in zip(model.values, values, strict=True)]
    yield Expect(got, [moved[i] for i in order], label="parameters afterwards")
    steps = yield Call(optimizer, "steps")
    yield Expect(steps, int(not bad), label="steps taken")
    same = yield Call(params, "has_given_gradients")
    yield Expect(same, True, label="whether gradients are the tensors that were there")
