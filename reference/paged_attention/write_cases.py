"""Cases of `write_kv`.

Takes: `Draw`. Gives: case makers. Does not cover: memory.
"""

import torch

from grader.author import Call, CaseSteps, Draw, Expect, New, Raises, Ref, case

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
    """Write token by token."""
    size = want[0].shape[1]
    for t, slot in enumerate(slots):
        if slot >= 0:
            for pages, tokens in zip(want, chunk, strict=True):
                pages[slot // size, slot % size] = tokens[t]


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


@case("write_kv", "bad_input", hidden=3)
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
    ]
    for what, arguments in draw.shuffled(bad):
        yield Raises(Call("write_kv", pool, *arguments), "ValueError", what)
    yield from _expect_pool(pool, want, "the refusals")
