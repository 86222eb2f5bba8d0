"""Cases of `clip_grad_norm`.

Takes: `Draw`. Gives: case makers. Does not cover: where shards come from.
"""

import math
from collections.abc import Sequence

import torch

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Each,
    Expect,
    Factors,
    New,
    On,
    Raises,
    Row,
    World,
    case,
)

from .inputs import world_of_rows
from .oracle import clipped

Tensor = torch.Tensor

SMALLEST_FACTOR = 2e-8
"""Below half of the smallest number of float16: rounded to it, the factor is 0. The products of
`LARGE` numbers are normal numbers of float16 all the same."""
LARGE = 4e4

CLIP = Factors(
    "clip_grad_norm",
    {
        "dtype": (torch.float32, torch.float64, torch.float16, torch.bfloat16, "all four"),
        "numbers": (40, 1, 3000),
        "shards": ("three per rank", "one per rank", "none on one rank", "an empty one on each"),
        "norm": (
            "twice the limit",
            "50,000,000 times the limit",
            "just below the limit",
            "the limit itself",
            "0",
            "infinity",
            "NaN",
        ),
    },
    strength=2,
    reason="a row asks every rank three times; triples are 140 rows",
)


def _clip(
    shards: Sequence[Sequence[Tensor]], max_norm: float, label: str, *, exact: bool = False
) -> CaseSteps:
    """Clip each rank's own shards and compare the norm and what became of them."""
    held = yield Each(*(New("harness:clones", list(own)) for own in shards))
    got = yield Each(Call("clip_grad_norm", held, max_norm))
    norm, after = clipped(shards, max_norm)
    yield Expect(got, [norm] * len(shards), label=f"norm of {label}")
    got = yield Each(Call("harness:read", held))
    yield Expect(got, after, label=f"shards of {label}", exact=exact)


def _drawn(draw: Draw, world: int, count: int) -> list[list[Tensor]]:
    return [[draw.normal_tensor(draw.integer(1, 40)) for _ in range(count)] for _ in range(world)]


@case("clip_grad_norm", "global_norm", public=1, hidden=3)
def global_norm(draw: Draw) -> CaseSteps:
    """Several shards per rank, of any size, magnitude and precision: one norm, one factor."""
    world = (2, 4, 3)[draw.index]
    scale = (1.0, 1e-6, 1e3)[draw.index]  # what is added to a small norm shows
    shards = [
        [scale * 10.0**rank * x for x in own] for rank, own in enumerate(_drawn(draw, world, 3))
    ]
    shards = [[*own, draw.normal_tensor(7, scale=scale).double()] for own in shards]
    yield World(world)
    yield from _clip(shards, 1.5 * scale, "four shards per rank")


@case("clip_grad_norm", "below", public=1, hidden=2)
def below(draw: Draw) -> CaseSteps:
    """A norm below the limit changes no bit; a limit of infinity only measures."""
    world = (3, 1)[draw.index]
    shards = _drawn(draw, world, 1)
    norm = float(clipped(shards, math.inf)[0])
    yield World(world)
    yield from _clip(shards, norm * 1.01, "shards just below the limit", exact=True)
    yield from _clip(shards, math.inf, "shards without a limit", exact=True)


@case("clip_grad_norm", "zero_norm", public=1, hidden=2)
def zero_norm(draw: Draw) -> CaseSteps:
    """Gradients of zeros stay zeros, with the smallest limit too."""
    world = (2, 4)[draw.index]
    shards = [[torch.zeros(draw.integer(1, 9))] for _ in range(world)]
    yield World(world)
    yield from _clip(shards, 1e-300, "zeros", exact=True)


@case("clip_grad_norm", "not_finite", public=1, hidden=2)
def not_finite(draw: Draw) -> CaseSteps:
    """An infinity or NaN on one rank: every rank returns that norm and leaves its shards alone."""
    world, bad = (3, 2)[draw.index], (-math.inf, math.nan)[draw.index]
    shards = _drawn(draw, world, 1)
    shards[draw.integer(0, world - 1)][0][0] = bad
    yield World(world)
    held = yield Each(*(New("harness:clones", own) for own in shards))
    got = yield Each(Call("clip_grad_norm", held, 1.0))
    norm = torch.tensor(abs(bad), dtype=torch.float64)
    yield Expect(got, [norm] * world, label="norm of shards that are not finite")
    got = yield Each(Call("harness:read", held))
    yield Expect(got, shards, label="shards that are not finite", exact=True)


@case("clip_grad_norm", "dtypes", public=1, hidden=3)
def dtypes(draw: Draw) -> CaseSteps:
    """Half and single precision side by side; squares that neither of them can hold."""
    world = (2, 3, 4)[draw.index]
    large = draw.index % 2 == 1
    shards = [
        [
            draw.normal_tensor(draw.integer(9, 30), scale=1e25 if large else 1.0),
            draw.normal_tensor(draw.integer(9, 30), scale=1e3).to(torch.float16),
            draw.normal_tensor(draw.integer(9, 30)).to(torch.bfloat16),
        ]
        for _ in range(world)
    ]
    yield World(world)
    norm = float(clipped(shards, math.inf)[0])
    yield from _clip(shards, norm / 4, "shards of three dtypes")


@case("clip_grad_norm", "empty_shards", public=1, hidden=2)
def empty_shards(draw: Draw) -> CaseSteps:
    """A rank without shards, and one whose shard is empty, take part all the same."""
    world = (3, 4)[draw.index]
    shards = _drawn(draw, world, 1)
    shards[draw.integer(0, world - 1)] = []
    if world > 2:
        place = next(rank for rank, own in enumerate(shards) if own)
        shards[place] = [torch.zeros(0), draw.normal_tensor(5, scale=30.0)]
    yield World(world)
    norm = float(clipped(shards, math.inf)[0])
    yield from _clip(shards, norm / 2, "shards of which some are empty")


@case("clip_grad_norm", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """A limit that is not above 0 raises ValueError on every rank; no shard changes."""
    shards = _drawn(draw, 2, 1)
    yield World(2)
    held = yield Each(*(New("harness:clones", own) for own in shards))
    for bad in (0.0, -1.0, math.nan):
        step = Each(Call("clip_grad_norm", held, bad))
        yield Raises(step, "ValueError", f"a limit of {bad}")
    alone = On(1, Call("clip_grad_norm", held, 0.0))
    yield Raises(alone, "ValueError", "a limit of 0 on one rank, before anything is sent")
    got = yield Each(Call("harness:read", held))
    yield Expect(got, shards, label="shards after refusals", exact=True)


def _shards_of(draw: Draw, row: Row, world: int) -> list[list[Tensor]]:
    """Return each rank's shards, large enough that products with a small factor are not lost."""
    count = 1 if row["shards"] == "one per rank" else 3
    kinds = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
    found = []
    for rank in range(world):
        dtypes = kinds if row["dtype"] == "all four" else [row["dtype"]] * count
        own = [_large(draw, row["numbers"], dtype) for dtype in dtypes]
        if row["shards"] == "none on one rank" and rank == world - 1:
            own = []
        if row["shards"] == "an empty one on each":
            own[0] = own[0][:0]
        found.append(own)
    return found


def _large(draw: Draw, count: int, dtype: torch.dtype) -> Tensor:
    size = draw.uniform_tensor(count, low=LARGE / 2, high=LARGE)
    return (size * (2 * draw.integer_tensor(count, low=0, high=1) - 1)).to(dtype)


def _set_norm(draw: Draw, kind: str, shards: list[list[Tensor]]) -> float:
    """Change shards so that their norm is to the limit as the row wants it; return the limit."""
    filled = [x for own in shards for x in own if x.numel()]
    if kind in ("0", "the limit itself"):
        for x in filled:
            x.zero_()
        if kind == "the limit itself" and filled:
            filled[0][0] = 8.0  # its square and root are exact, whatever the order of the sum
            return 8.0
        return 1.0
    if kind in ("infinity", "NaN") and filled:
        bad = draw.choice(filled)
        bad[draw.integer(0, len(bad) - 1)] = math.nan if kind == "NaN" else -math.inf
        return 1.0
    norm = float(clipped(shards, math.inf)[0])
    ratio = {"just below the limit": 1.01, "twice the limit": 0.5}.get(kind, SMALLEST_FACTOR)
    return norm * ratio or 1.0


@case("clip_grad_norm", "combinations", public=2, hidden=4, factors=CLIP)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, sizes, ranks without shards, factors that a half cannot hold."""
    world = yield from world_of_rows(draw, (3, 2, 2, 1))
    shards = _shards_of(draw, row, world)
    limit = _set_norm(draw, row["norm"], shards)
    exact = row["norm"] not in ("twice the limit", "50,000,000 times the limit")
    yield from _clip(shards, limit, f"{world} ranks", exact=exact)
