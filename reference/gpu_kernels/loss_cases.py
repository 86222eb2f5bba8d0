"""Cases of `cross_entropy`.

Takes: `Draw`. Gives: case makers. Does not cover: speed and memory.
"""

import math

import torch

from grader.author import Call, CaseSteps, Draw, Expect, Raises, case

from .inputs import HALF, SINGLE, expanded, sliced, transposed
from .oracle import cross_entropy

Tensor = torch.Tensor


def _loss(x: Tensor, target: Tensor, ignore_index: int | None = None) -> CaseSteps:
    keywords = {} if ignore_index is None else {"ignore_index": ignore_index}
    got = yield Call("cross_entropy", x, target, **keywords)
    index = -100 if ignore_index is None else ignore_index
    yield Expect(got, lambda: cross_entropy(x, target, index), label="loss and gradient")


@case("cross_entropy", "vocabulary", public=3, hidden=4)
def vocabulary(draw: Draw) -> CaseSteps:
    """Vocabularies of 1000, 50257 and 1; targets at 0, V − 1 and in the tail block; float16."""
    columns = (1000, 1, draw.integer(300, 500), 50257)[draw.index]
    x = draw.normal_tensor(3, columns, dtype=HALF if draw.index == 2 else SINGLE)
    labels = [0, columns - 1, max(0, columns - draw.integer(1, 100))]
    target = torch.tensor(draw.shuffled(labels))
    yield from _loss(x, target.int() if draw.index == 2 else target)


@case("cross_entropy", "ignored", public=2, hidden=3)
def ignored(draw: Draw) -> CaseSteps:
    """Some rows are ignored, and hold NaN; a column is the ignored one; all rows are ignored."""
    columns = draw.integer(20, 30)
    x = draw.normal_tensor(6, columns)
    target = draw.integer_tensor(6, low=0, high=columns - 1)
    if draw.index == 1:
        target[[0, 3, 4]] = 5
        target[1] = 6
        yield from _loss(x, target, ignore_index=5)
        return
    gone = slice(None) if draw.index == 2 else torch.tensor(draw.shuffled(range(6))[:2])
    target[gone] = -100
    x[gone] = math.nan
    yield from _loss(x, target)


@case("cross_entropy", "large_logits", hidden=2)
def large_logits(draw: Draw) -> CaseSteps:
    """Logits around 10⁴ and below −10⁴, entries of −inf, constant rows."""
    columns = draw.integer(20, 40)
    x = draw.normal_tensor(5, columns)
    x[0] += 1e4
    x[1] -= 1.1e4
    x[2, : columns - 3] = -math.inf
    x[3] = 7
    yield from _loss(x, torch.full((5,), columns - 1 - draw.integer(0, 1)))


@case("cross_entropy", "strides", hidden=3)
def strides(draw: Draw) -> CaseSteps:
    """Transposed, sliced and expanded logits; targets that are a slice."""
    rows, columns = 9 if draw.index == 2 else draw.integer(3, 5), draw.integer(33, 60)
    x = (transposed, sliced, expanded)[draw.index](draw, rows, columns)
    yield from _loss(x, draw.integer_tensor(2 * rows, low=0, high=columns - 1)[::2])


@case("cross_entropy", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """What does not fit raises ValueError."""
    x, target = draw.normal_tensor(4, 7), draw.integer_tensor(4, low=0, high=6)
    bad = [
        ("a vector of logits", (x[0], target)),
        ("no columns", (x[:, :0], target)),
        ("integer logits", (x.int(), target)),
        ("logits in float64", (x.double(), target)),
        ("a target too few", (x, target[1:])),
        ("a target too many", (x[1:], target)),
        ("targets in int16", (x, target.short())),
        ("float targets", (x, target.float())),
        ("a matrix of targets", (x, target[:, None])),
    ]
    for what, arguments in draw.shuffled(bad):
        yield Raises(Call("cross_entropy", *arguments), "ValueError", what)
