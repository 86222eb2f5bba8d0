"""Cases of `broadcast_module`.

Takes: `Draw`. Gives: case makers. Does not cover: network traffic (see `workloads`).
"""

from typing import Any

import torch

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

from .inputs import LAYOUTS, laid_out, world_of_rows

Tensor = torch.Tensor

LARGE_INTEGER = 2**53 + 1
"""The smallest integer that float64 does not have."""

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
PLACES = {"in the module": 0, "in a submodule": 1, "two levels down": 2}

BROADCAST = Factors(
    "broadcast_module",
    {
        "parameter": FLOATS,
        "shape": ("a matrix", "one number", "no dimensions", "100,000 numbers"),
        "parameter's layout": LAYOUTS,
        "buffer": (*FLOATS, torch.int64, torch.bool, "none"),
        "buffer's layout": LAYOUTS,
        "saved": (True, False),
        "place": tuple(PLACES),
        "frozen": (False, True),
        "two names": (False, True),
        "special numbers": (False, True),
    },
    excluded=(
        Excluded(
            "one number has no layout",
            lambda row: (
                row["shape"] in ("one number", "no dimensions")
                and row["parameter's layout"] != "contiguous"
            ),
        ),
        Excluded(
            "no buffer has no layout, and is not left out of a state",
            lambda row: (
                row["buffer"] == "none"
                and (row["buffer's layout"] != "contiguous" or not row["saved"])
            ),
        ),
    ),
)


def _parameters(draw: Draw) -> list[Tensor]:
    """Return numbers of several shapes and dtypes; the second is transposed."""
    rows, columns = draw.integer(2, 5), draw.integer(2, 7)
    return [
        draw.normal_tensor(rows, columns),
        draw.normal_tensor(columns, rows).t(),
        draw.normal_tensor(),
        draw.normal_tensor(columns, dtype=torch.float64),
        draw.normal_tensor(rows, dtype=torch.bfloat16),
    ]


@case("broadcast_module", "parameters", public=1, hidden=3)
def parameters(draw: Draw) -> CaseSteps:
    """Every parameter becomes rank 0's, bit for bit: frozen, transposed, float64, a scalar too."""
    world = (2, 3, 4)[draw.index]
    shapes = _parameters(draw)
    values = [[draw.normal_tensor(*x.shape).to(x.dtype) for x in shapes] for _ in range(world)]
    values = [[x.t().contiguous().t() if n == 1 else x for n, x in enumerate(v)] for v in values]
    yield World(world)
    model = yield Each(*(New("harness:Sheet", own, frozen=[0]) for own in values))
    state = yield Each(New("harness:State", model))
    yield Each(Call("broadcast_module", model))
    got = yield Each(Call(state, "parameters"))
    yield Expect(got, [values[0]] * world, label="parameters of each rank", exact=True)


@case("broadcast_module", "buffers", public=1, hidden=2)
def buffers(draw: Draw) -> CaseSteps:
    """So does every buffer: of floats, integers and booleans, one that is not saved as well."""
    world = (3, 4)[draw.index]
    one = [draw.normal_tensor(3)]
    values = [
        [
            draw.normal_tensor(4),
            draw.normal_tensor(2, 3),
            torch.tensor(LARGE_INTEGER + 2 * draw.integer(0, 999)),
            draw.integer_tensor(5, low=0, high=1).bool(),
        ]
        for _ in range(world)
    ]
    yield World(world)
    model = yield Each(*(New("harness:Sheet", one, buffers=own) for own in values))
    state = yield Each(New("harness:State", model))
    yield Each(Call("broadcast_module", model))
    got = yield Each(Call(state, "buffers"))
    yield Expect(got, [values[0]] * world, label="buffers of each rank", exact=True)


@case("broadcast_module", "in_place", public=1, hidden=2)
def in_place(draw: Draw) -> CaseSteps:
    """Tensors are overwritten, not replaced: ties hold, and an optimizer's references stay good."""
    world = (2, 1)[draw.index]
    sizes = draw.integer(3, 6), draw.integer(2, 4)
    values = [[draw.normal_tensor(*sizes) for _ in range(3)] for _ in range(world)]
    yield World(world)
    model = yield Each(*(New("harness:Sheet", own, frozen=[1], tied=[(0, 2)]) for own in values))
    state = yield Each(New("harness:State", model))
    yield Each(Call("broadcast_module", model))
    got = yield Each(Call(state, "views"))
    yield Expect(got, [values[0][:2]] * world, label="views made before", exact=True)
    yield Each(Call(state, "step"))
    got = yield Each(Call(state, "parameters"))
    stepped = [values[0][0] - 1, values[0][1]]  # the second one is frozen
    yield Expect(got, [stepped] * world, label="parameters stepped by old references", exact=True)


def _rows_and_columns(row: Row) -> tuple[int, ...]:
    shapes = {"one number": (1,), "no dimensions": (), "100,000 numbers": (250, 401)}
    return shapes.get(row["shape"], (5, 7))


def _content(draw: Draw, row: Row, kind: Any, *shape: int) -> Tensor:
    """Return numbers of a dtype; special ones are lost on the way through another dtype."""
    if kind == torch.bool:
        return draw.integer_tensor(*shape, low=0, high=1).bool()
    if kind == torch.int64:
        return LARGE_INTEGER + 2 * draw.integer_tensor(*shape, low=0, high=999)
    numbers = draw.normal_tensor(*shape, dtype=kind)
    if row["special numbers"]:
        flat = numbers.view(-1)
        for place, special in enumerate((-0.0, torch.inf, torch.nan, -torch.inf)[: flat.numel()]):
            flat[place] = special
    return numbers


def _sheet(draw: Draw, row: Row) -> dict[str, Any]:
    """Return the arguments of one rank's `Sheet`, that holds what the row says at its place."""
    weight = _content(draw, row, row["parameter"], *_rows_and_columns(row))
    values = [laid_out(weight, row["parameter's layout"]), draw.normal_tensor(3)]
    buffers, layout, saved = [], row["buffer's layout"], row["saved"]
    if row["buffer"] != "none":
        content = laid_out(_content(draw, row, row["buffer"], 4, 3), layout)
        # Buffers of odd number are not saved.
        buffers = [content] if saved else [draw.normal_tensor(2), content]
    found: dict[str, Any] = {"values": values, "buffers": buffers}
    if row["frozen"]:
        found["frozen"] = [0]
    if row["two names"]:
        found["values"] = [*values, draw.normal_tensor(2)]
        found["tied"] = [(0, 2)]
    for _ in range(PLACES[row["place"]]):
        found = {"values": [draw.normal_tensor(2)], "inner": found}
    return found


def _held(sheet: dict[str, Any]) -> dict[str, Any]:
    """Return what `State.found` should find of a sheet."""
    values, frozen = sheet["values"], sheet.get("frozen", [])
    hidden = {second for _, second in sheet.get("tied", [])}
    numbers = [number for number in range(len(values)) if number not in hidden]
    inner = _held(sheet["inner"]) if "inner" in sheet else {}
    own: dict[str, Any] = {
        "parameters": [values[number] for number in numbers],
        "buffers": sheet.get("buffers", []),
        "requires_grad": [number not in frozen for number in numbers],
    }
    return {name: found + inner.get(name, []) for name, found in own.items()}


@case("broadcast_module", "combinations", public=2, hidden=4, factors=BROADCAST)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, layouts, submodules, frozen, two names, NaN and -0.0."""
    world = yield from world_of_rows(draw, (3, 2, 2, 1))
    sheets = [_sheet(draw, row) for _ in range(world)]
    model = yield Each(*(New("harness:Sheet", **own) for own in sheets))
    state = yield Each(New("harness:State", model))
    yield Each(Call("broadcast_module", model))
    got = yield Each(Call(state, "found"))
    want = _held(sheets[0])
    want["views made before"] = [*want["parameters"], *want["buffers"]]
    yield Expect(got, [want] * world, label="what each rank holds", exact=True)
