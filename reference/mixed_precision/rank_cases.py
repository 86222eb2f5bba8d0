"""Cases of `found_inf_everywhere`: worlds of one, two and three ranks.

Takes: `Draw`. Gives: case makers. Does not cover: averaging gradients.

Parameters and gradients are whole numbers, so that every comparison is exact.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch

from grader.assignment.steps import Ref, Step, Value
from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Each,
    Excluded,
    Expect,
    Factors,
    New,
    Row,
    World,
    case,
)

from .inputs import BROKEN, LAYOUTS, broken, laid_out, whole
from .oracle import Momentum

Tensor = torch.Tensor
Gradients = Sequence[Tensor | None]

SIZES = ((2, 3), (4,), (1,))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ranks:
    """Parameters and optimizers of all ranks, and what they should do."""

    params: Ref
    optimizer: Ref
    models: list[Momentum]


def _new_ranks(draw: Draw, world: int, counts: Sequence[int]) -> Generator[Step, Value, _Ranks]:
    """Start a world; rank r has `counts[r]` parameters of its own."""
    values = [[whole(draw, *size) for size in SIZES[:count]] for count in counts]
    yield World(world)
    params = yield Each(*(New("harness:Parameters", mine) for mine in values))
    optimizer = yield Each(New("harness:Momentum", params))
    models = [Momentum(mine) for mine in values]
    return _Ranks(params=params, optimizer=optimizer, models=models)


def _round(
    ranks: _Ranks, gradients: Sequence[Gradients], *, overflow: bool
) -> Generator[Step, Value, None]:
    """Give every rank its gradients, ask, and compare what was decided and what moved."""
    given = [Call(ranks.params, "set_gradients", list(mine)) for mine in gradients]
    yield Each(*given)
    got = yield Each(Call("found_inf_everywhere", ranks.optimizer))
    yield Expect(got, [overflow] * len(gradients), label="what each rank returns")
    if not overflow:
        for model, mine in zip(ranks.models, gradients, strict=True):
            model.step(mine)
    values = yield Each(Call(ranks.params, "values"))
    want = [[value.float() for value in model.values] for model in ranks.models]
    yield Expect(values, want, label="parameters of each rank", exact=True)


def _drawn(draw: Draw, counts: Sequence[int]) -> list[list[Tensor | None]]:
    return [[whole(draw, *size) for size in SIZES[:count]] for count in counts]


@case("found_inf_everywhere", "one_rank_overflows", public=1, hidden=3)
def one_rank_overflows(draw: Draw) -> CaseSteps:
    """An inf or NaN on one of two or three ranks: all of them skip, and then go on together."""
    world = 2 + draw.index % 2
    ranks = yield from _new_ranks(draw, world, [3] * world)
    for number in range(4):
        gradients = _drawn(draw, [3] * world)
        bad = number in (1, 2)
        if bad:
            place = (draw.index + number) % world
            value = BROKEN[(draw.index + number) % len(BROKEN)]
            gradients[place] = broken(draw, gradients[place], value)
        yield from _round(ranks, gradients, overflow=bad)


@case("found_inf_everywhere", "alone", hidden=1)
def alone(draw: Draw) -> CaseSteps:
    """A world of one rank works like any other."""
    ranks = yield from _new_ranks(draw, 1, [3])
    for bad in draw.shuffled((True, False, False)):
        (mine,) = _drawn(draw, [3])
        mine = broken(draw, mine, BROKEN[0]) if bad else mine
        yield from _round(ranks, [mine], overflow=bad)


@case("found_inf_everywhere", "opposite_overflows", hidden=2)
def opposite_overflows(draw: Draw) -> CaseSteps:
    """inf on one rank and -inf, or NaN, on the other."""
    ranks = yield from _new_ranks(draw, 2, [2, 2])
    for pair in draw.shuffled(((BROKEN[0], BROKEN[1]), (BROKEN[2], BROKEN[0]), ())):
        gradients = _drawn(draw, [2, 2])
        for place, value in enumerate(pair):
            gradients[place] = broken(draw, gradients[place], value)
        yield from _round(ranks, gradients, overflow=bool(pair))


@case("found_inf_everywhere", "without_gradients", hidden=2)
def without_gradients(draw: Draw) -> CaseSteps:
    """A rank without any gradient, with fewer parameters than the others, takes part."""
    world, counts = 3, draw.shuffled((1, 2, 3))
    ranks = yield from _new_ranks(draw, world, counts)
    for bad in draw.shuffled((True, False)):
        gradients = _drawn(draw, counts)
        silent = draw.integer(0, world - 1)
        gradients[silent] = [None] * counts[silent]
        if bad:
            place = (silent + 1) % world
            gradients[place] = broken(draw, gradients[place], BROKEN[0])
        yield from _round(ranks, gradients, overflow=bad)


RANKS = Factors(
    "found_inf_everywhere",
    {
        "world": (2, 3, 1),
        "dtype": (torch.float32, torch.bfloat16),
        "view of gradients": LAYOUTS,
        "finite entries": ("near 10", "near 3e38"),
        "without gradients": ("nobody", "the first rank", "every parameter but one"),
        "overflow": ("none", *map(str, BROKEN)),
        "on": ("the last rank", "the first rank", "every rank"),
        "tied": (False, True),
        "entry": ("the last one", "the first one"),
    },
    excluded=(
        Excluded(
            "without an overflow it is on no rank",
            lambda row: row["overflow"] == "none" and row["on"] != "the last rank",
        ),
        Excluded(
            "without an overflow it is in no entry",
            lambda row: row["overflow"] == "none" and row["entry"] != "the last one",
        ),
        Excluded(
            "that a sum of large finite entries overflows shows only where there are many of them",
            lambda row: (
                row["finite entries"] == "near 3e38"
                and row["overflow"] == "none"
                and row["without gradients"] != "nobody"
            ),
        ),
        Excluded(
            "a rank without gradients does not overflow",
            lambda row: (
                row["without gradients"] == "the first rank"
                and row["overflow"] != "none"
                and (row["on"] != "the last rank" or row["world"] == 1)
            ),
        ),
    ),
)


def _gradients_of(draw: Draw, row: Row, rank: int) -> list[Tensor | None]:
    """Return the gradients of a rank: three, (2, 3), (4,) and (1,), as the row wants them."""
    size = 2.0**124 if row["finite entries"] == "near 3e38" else 1.0
    found: list[Tensor | None] = [
        laid_out((whole(draw, *shape) * size).to(row["dtype"]), row["view of gradients"])
        for shape in SIZES
    ]
    first, world = row["entry"] == "the first one", row["world"]
    ranks = {"the last rank": (world - 1,), "the first rank": (0,)}.get(row["on"], range(world))
    if row["without gradients"] == "the first rank" and rank == 0:
        return [None, None, None]
    if row["without gradients"] == "every parameter but one":
        found = [found[0], None, None] if first else [None, None, found[2]]
    if row["overflow"] != "none" and rank in ranks:
        chosen = next(g for g in (found if first else reversed(found)) if g is not None)
        chosen[(0 if first else -1,) * chosen.dim()] = float(row["overflow"])
    return found


@case("found_inf_everywhere", "combinations", public=1, hidden=3, factors=RANKS)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: worlds, dtypes, finite numbers whose sum is not, places of an overflow.

    Gradients stay as they are; nobody steps, or everybody does once.
    """
    world, order = row["world"], [0, 1, 2, 0] if row["tied"] else [0, 1, 2]
    values = [[whole(draw, *size).to(row["dtype"]) for size in SIZES] for _ in range(world)]
    gradients = [_gradients_of(draw, row, rank) for rank in range(world)]
    yield World(world)
    params = yield Each(*(New("harness:Parameters", mine, order) for mine in values))
    optimizer = yield Each(New("harness:Momentum", params))
    sent = [[mine[i] for i in order] for mine in gradients]
    yield Each(*(Call(params, "set_gradients", mine) for mine in sent))
    bad = row["overflow"] != "none"
    got = yield Each(Call("found_inf_everywhere", optimizer))
    yield Expect(got, [bad] * world, label="what each rank returns")
    steps = yield Each(Call(optimizer, "steps"))
    yield Expect(steps, [int(not bad)] * world, label="steps that each rank took")
    got = yield Each(Call(params, "gradients"))
    yield Expect(got, sent, label="gradients of each rank", exact=True)
