"""Cases that hostile ranks aim at: one collective, one state in parts."""

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Each,
    Expect,
    New,
    On,
    PhaseEnd,
    PhaseStart,
    Raises,
    Work,
    WorkloadSteps,
    World,
    case,
    workload,
)
from tests.hostile.rank_target.reference.rank_target.oracle import mean_of


@case("average", "values", public=1, hidden=3)
def values(draw: Draw) -> CaseSteps:
    """Average over one, two or three ranks, several times with new content."""
    world = draw.integer(1, 3)
    yield World(world)
    for _ in range(2):
        parts = [draw.normal_tensor(5, 7) for _ in range(world)]
        got = yield Each(*(Call("average", part) for part in parts))
        want = mean_of(parts)
        yield Expect(got, [want] * world, label="mean on every rank")


@case("average", "refuses", public=0, hidden=1)
def refuses(draw: Draw) -> CaseSteps:
    """Integers have no mean here."""
    yield World(2)
    bad = draw.integer_tensor(4, low=0, high=9)
    yield Raises(Each(Call("average", bad)), "ValueError", label="integers")


@workload("average", "traffic", sizes=(1 << 20,))
def traffic(draw: Draw, size: int) -> WorkloadSteps:
    """Three ranks average 4 MiB each."""
    world = 3
    yield World(world)
    yield PhaseStart()
    parts = [draw.normal_tensor(size) for _ in range(world)]
    got = yield Each(*(Call("average", part) for part in parts))
    yield Work(
        traffic_bytes=2 * (world - 1) * 4 * size,
        derivation="2 (N-1)/N S per rank: 2 · 2 · 4 MiB over 3 ranks",
    )
    yield PhaseEnd()
    yield Expect(got, [mean_of(parts)] * world, label="mean on every rank")


@workload("average", "step", sizes=(1 << 20,))
def step(draw: Draw, size: int) -> WorkloadSteps:
    """Two ranks average 4 MiB each, several times."""
    yield World(2)
    base = draw.normal_tensor(size)
    yield Each(Call("average", base))  # the first call is not counted
    yield PhaseStart()
    for number in range(4):
        parts = [base * (number + 2), base.roll(number)]
        got = yield Each(*(Call("average", part) for part in parts))
        yield Expect(got, [mean_of(parts)] * 2, label="mean on every rank")


@case("Shard", "moves", public=0, hidden=2)
def moves(draw: Draw) -> CaseSteps:
    """A state is put together, and given to another world."""
    whole = draw.normal_tensor(draw.integer(1, 40))
    yield World(2)
    shard = yield Each(New("Shard", whole))
    saved = yield Each(Call(shard, "whole"))
    yield Expect(saved, [whole] * 2, label="the whole from two ranks")
    yield World(3)
    shard = yield Each(*(New("Shard", saved[0]) for _ in range(3)))
    again = yield Each(Call(shard, "whole"))
    yield Expect(again, [whole] * 3, label="the whole from three ranks")
    part = yield On(2, Call(shard, "part"))
    yield Expect(part, whole[-(-len(whole) // 3) * 2 :], label="the last part")


@workload("Shard", "memory", sizes=(1 << 26,))
def memory(draw: Draw, size: int) -> WorkloadSteps:
    """A state of 256 MiB on two ranks."""
    yield World(2)
    shard = yield Each(New("Shard", draw.normal_tensor(8), size))
    part = yield Each(Call(shard, "count"))
    yield Expect(part, [size // 2] * 2, label="numbers per rank")
