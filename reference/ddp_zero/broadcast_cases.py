"""Cases of `broadcast_module`.

Takes: `Draw`. Gives: case makers. Does not cover: network traffic (see `workloads`).
"""

import torch

from grader.author import Call, CaseSteps, Draw, Each, Expect, New, World, case

Tensor = torch.Tensor

LARGE_INTEGER = 2**53 + 1
"""The smallest integer that float64 does not have."""


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
