"""Cases of `write_kv`.

Takes: `Draw`. Gives: case makers. Does not cover: memory.
"""

import math

import torch

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Excluded,
    Expect,
    Factors,
    New,
    Raises,
    Ref,
    Row,
    case,
)

from .page_rows import laid_out, viewed
from .playing import kind_of

HEADS, DIM = 2, 3
Pool = tuple[torch.Tensor, torch.Tensor]


def _empty(pages: int, size: int, dtype: torch.dtype = torch.float32) -> Pool:
    shape = (pages, size, HEADS, DIM)
    k, v = torch.full((2, *shape), torch.nan, dtype=dtype)
    return k, v


def _expect_pool(pool: Ref, want: Pool, label: str) -> CaseSteps:
    for name, part in zip(("k_PNHD", "v_PNHD"), want, strict=True):
        got = yield Call(pool, name)
        yield Expect(got, part.clone(), label=f"{name} after {label}", exact=True)


def _chunk(draw: Draw, count: int, dtype: torch.dtype = torch.float32) -> Pool:
    """Return k and v [T, H, D] that are views."""
    k = draw.normal_tensor(HEADS, count, DIM).to(dtype).transpose(0, 1)
    v = draw.normal_tensor(count, HEADS, 2 * DIM).to(dtype)[..., ::2]
    return k, v


def _write(want: Pool, chunk: Pool, slots: list[int]) -> None:
    """Write the tokens that have a slot, row by row of the pool."""
    size = want[0].shape[1]
    real = [t for t, slot in enumerate(slots) if slot >= 0]
    for pages, tokens in zip(want, chunk, strict=True):
        pages[[slots[t] // size for t in real], [slots[t] % size for t in real]] = tokens[real]


@case("write_kv", "slots", public=2, hidden=5)
def slots(draw: Draw) -> CaseSteps:
    """Tokens go to slots in any order, one less than a page, a page, one more; then more of them.

    float32 and float16, pages of 1 and of several tokens, and a write of no tokens.
    """
    size, pages = (4, 1, 3, 7, 16)[draw.index % 5], draw.integer(4, 6)
    dtype = (torch.float32, torch.float16)[draw.index % 2]
    pool = yield New("harness:PagePool", pages, size, HEADS, DIM, dtype=dtype)
    want = _empty(pages, size, dtype)
    free = draw.shuffled(range(pages * size))
    for count in (max(1, size - 1), size, 0, size + 1):
        mine, free = free[:count], free[count:]
        chunk = _chunk(draw, len(mine), dtype)
        yield Call("write_kv", pool, *chunk, torch.tensor(mine, dtype=torch.int64))
        _write(want, chunk, mine)
    yield from _expect_pool(pool, want, "four writes")


@case("write_kv", "padding", public=1, hidden=4)
def padding(draw: Draw) -> CaseSteps:
    """Tokens with slot -1 go nowhere: before, between and behind the others, and alone."""
    size, pages = draw.integer(2, 5), draw.integer(3, 5)
    pool = yield New("harness:PagePool", pages, size, HEADS, DIM)
    want = _empty(pages, size)
    chosen = draw.shuffled(range(1, pages * size - 1))[: draw.integer(2, size)]
    mine = draw.shuffled([-1, -1, -1, *chosen]) if draw.index % 3 else [-1, -1]
    chunk = _chunk(draw, len(mine))
    yield Call("write_kv", pool, *chunk, torch.tensor(mine))
    _write(want, chunk, mine)
    yield from _expect_pool(pool, want, "a write with padding")


@case("write_kv", "bad_input", hidden=2)
def bad_input(draw: Draw) -> CaseSteps:
    """Slots that do not exist or come twice, and tokens that do not fit, raise ValueError.

    The pool is as it was.
    """
    size, pages = draw.integer(2, 5), 3
    pool = yield New("harness:PagePool", pages, size, HEADS, DIM)
    want = _empty(pages, size)
    k, v = _chunk(draw, 3)
    mine = draw.shuffled(range(pages * size))[:3]
    yield Call("write_kv", pool, k, v, torch.tensor(mine))
    _write(want, (k, v), mine)
    k, v = _chunk(draw, 3)
    slots = torch.tensor([0, 1, pages * size - 1])
    bad = [
        ("a slot behind the pool", (k, v, torch.tensor([0, 1, pages * size]))),
        ("a slot of -2", (k, v, torch.tensor([0, -2, 1]))),
        ("a slot that comes twice", (k, v, torch.tensor([0, 1, 0]))),
        ("a slot too few", (k, v, slots[:2])),
        ("float slots", (k, v, slots.float())),
        ("values of another dtype", (k, v.half(), slots)),
        ("keys of another dtype", (k.half(), v, slots)),
        ("values with a head too few", (k, v[:, :1], slots)),
        ("values with a token too few", (k, v[:2], slots)),
        ("one head for all", (k[:, :1], v[:, :1], slots)),
        ("one column for all", (k[..., :1], v[..., :1], slots)),
    ]
    for what, arguments in draw.shuffled(bad):
        yield Raises(Call("write_kv", pool, *arguments), "ValueError", what)
    yield from _expect_pool(pool, want, "the refusals")


LAYOUTS = ("contiguous", "heads before tokens", "every other column")
SPARE = 2
"""Pages more than the tokens need."""
BEFORE = 40
"""Slots of them that are written before."""

REFUSED = {
    "a slot": ("a slot twice", "slot P * N", "slot -2"),
    "a dtype": ("both of another dtype", "values of another dtype", "keys of another dtype"),
}
"""Kinds of each level; how keys lie says which one a row asks."""

WRITE = Factors(
    "write_kv",
    {
        "dtype": (torch.float32, torch.float16, torch.bfloat16),
        "page": (16, 1, 5, 64),
        "tokens": (17, 0, 1, 66),
        "slots": ("in any order", "rising with gaps", "falling", "rising"),
        "padding": ("none", "last", "all", "often"),
        "numbers": ("usual", "NaN, inf and -0.0"),
        "k": LAYOUTS,
        "v": LAYOUTS,
        "view of slots": ("contiguous", "every other entry"),
        "pool": ("written before", "fresh"),
        "refused before": ("nothing", *REFUSED),
    },
    excluded=(
        Excluded(
            "padding lies somewhere only if there are enough tokens",
            lambda row: (
                (row["tokens"] == 0 and row["padding"] != "none")
                or (row["tokens"] == 1 and row["padding"] not in ("none", "all"))
            ),
        ),
        Excluded(
            "a refusal about tokens needs two of them",
            lambda row: row["tokens"] < 2 and row["refused before"] != "nothing",
        ),
    ),
)


def _draw_slots(draw: Draw, row: Row, room: int) -> list[int]:
    """Return the slots of a row's tokens, padding included."""
    count = row["tokens"]
    chosen = draw.shuffled(range(room))[:count]
    if row["slots"] == "rising":
        first = draw.integer(0, room - count)
        chosen = list(range(first, first + count))
    elif row["slots"] != "in any order":
        chosen = sorted(chosen, reverse=row["slots"] == "falling")
    padded = {
        "none": [],
        "last": [-1],
        "all": range(count),
        "often": range(0, count, 3),
    }[row["padding"]]
    for place in padded:
        chosen[place] = -1
    return chosen


def _draw_tokens(draw: Draw, row: Row, count: int) -> Pool:
    """Return keys and values as a row wants them."""
    parts = []
    for name in ("k", "v"):
        x = draw.normal_tensor(count, HEADS, DIM)
        if row["numbers"] != "usual" and count:
            x[0, 0, :], x[-1, -1, 0] = torch.tensor([math.nan, math.inf, -0.0]), -math.inf
        parts.append(laid_out(x.to(row["dtype"]), row[name]))
    return parts[0], parts[1]


def _bad_writes(
    row: Row, chunk: Pool, slots: list[int], room: int
) -> dict[str, tuple[Pool, list[int]]]:
    """Return writes that must be refused; their first tokens would be good."""
    k, v = chunk
    return {
        "a slot twice": (chunk, [*range(len(slots) - 1), 0]),
        "slot P * N": (chunk, [*slots[:-1], room]),
        "slot -2": (chunk, [*slots[:-1], -2]),
        "values of another dtype": ((k, v.double()), slots),
        "keys of another dtype": ((k.double(), v), slots),
        "both of another dtype": ((k.double(), v.double()), slots),
    }


@case("write_kv", "combinations", public=3, hidden=6, factors=WRITE)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: sizes around pages, orders of slots, padding, dtypes, strides, refusals.

    A pool that was written before keeps what no slot names.
    """
    size, dtype = row["page"], row["dtype"]
    pages = -(-row["tokens"] // size) + SPARE
    room = pages * size
    pool = yield New("harness:PagePool", pages, size, HEADS, DIM, dtype=dtype)
    want = _empty(pages, size, dtype)
    if row["pool"] == "written before":
        filled = draw.shuffled(range(room))[:BEFORE]
        chunk = _chunk(draw, len(filled), dtype)
        yield Call("write_kv", pool, *chunk, torch.tensor(filled))
        _write(want, chunk, filled)
    slots, chunk = _draw_slots(draw, row, room), _draw_tokens(draw, row, row["tokens"])
    if row["refused before"] != "nothing":
        what = kind_of(REFUSED[row["refused before"]], row["k"], LAYOUTS)
        bad, where = _bad_writes(row, chunk, slots, room)[what]
        step = Call("write_kv", pool, *bad, torch.tensor(where, dtype=torch.int64))
        yield Raises(step, "ValueError", what)
        yield from _expect_pool(pool, want, "the refusal")
    given = viewed(torch.tensor(slots, dtype=torch.int64), row["view of slots"])
    yield Call("write_kv", pool, *chunk, given)
    _write(want, chunk, slots)
    yield from _expect_pool(pool, want, "the write")
