"""Checks that take almost no time, and workloads: time, growth, memory."""

import torch

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Expect,
    New,
    PhaseEnd,
    ReclaimArguments,
    Work,
    WorkloadSteps,
    case,
    workload,
)
from tests.hostile.speed_target.reference.speed_target.oracle import (
    PRODUCTS,
    diagonal_power,
    mixed,
    mixed_sum,
)

SIDE = 128
COLUMNS = 1024
SIDE_OF_POWER = 256


@case("mix", "values", public=0, hidden=1)
def values(draw: Draw) -> CaseSteps:
    """Mix a small matrix."""
    x = draw.normal_tensor(16, 16)
    got = yield Call("mix", x)
    yield Expect(got, mixed(x), label="product")


def _mix(draw: Draw, size: int) -> WorkloadSteps:
    for _ in range(size):
        x = draw.normal_tensor(SIDE, SIDE)
        got = yield Call("mix", x)
        yield Expect(got, mixed(x), label="product")


@workload("mix", "time", sizes=(3,))
def time(draw: Draw, size: int) -> WorkloadSteps:
    """Mix one matrix after the other."""
    return _mix(draw, size)


@workload("mix", "clock", sizes=(3,))
def clock(draw: Draw, size: int) -> WorkloadSteps:
    """Mix one matrix after the other."""
    return _mix(draw, size)


def _raise(draw: Draw, size: int, side: int) -> WorkloadSteps:
    for _ in range(size):
        diagonal = 1 + draw.normal_tensor(side) / 100
        got = yield Call("power", torch.diag(diagonal))
        yield Expect(got, diagonal_power(diagonal), label="power")


@case("power", "product", public=0, hidden=1)
def product(draw: Draw) -> CaseSteps:
    """Raise a small diagonal matrix."""
    return _raise(draw, 1, 8)  # type: ignore[return-value]  # no step of it is a workload's alone


@workload("power", "roofline", sizes=(2,))
def roofline(draw: Draw, size: int) -> WorkloadSteps:
    """Raise matrices whose power can be found without multiplying them."""
    yield Work(flops=size * PRODUCTS * 2 * SIDE_OF_POWER**3, dtype="float32")
    yield from _raise(draw, size, SIDE_OF_POWER)


def _add(draw: Draw, size: int, side: int) -> WorkloadSteps:
    tally = yield New("Tally")
    added: list[torch.Tensor] = []
    for _ in range(size):
        added.append(draw.normal_tensor(side, side))
        yield Call(tally, "add", added[-1])
    got = yield Call(tally, "total")
    yield Expect(got, lambda: mixed_sum(added), label="sum of mixes")


@case("Tally", "total", public=0, hidden=1)
def total(draw: Draw) -> CaseSteps:
    """Add a few small mixes up."""
    return _add(draw, 3, 16)  # type: ignore[return-value]  # no step of it is a workload's alone


@workload("Tally", "growth", sizes=(6, 24))
def growth(draw: Draw, size: int) -> WorkloadSteps:
    """Add more and more mixes up."""
    return _add(draw, size, SIDE)


def _put(draw: Draw, chunks: int, rows: int) -> WorkloadSteps:
    store = yield New("Store", chunks * rows, COLUMNS)
    base = draw.normal_tensor(rows, COLUMNS)
    for number in range(chunks):
        yield Call(store, "put", base * (number + 1))
        yield ReclaimArguments()
    yield PhaseEnd()
    got = yield Call(store, "get")
    want = torch.cat([base * (number + 1) for number in range(chunks)])
    yield Expect(got, want, label="all rows", exact=True)


@case("Store", "everything", public=0, hidden=1)
def everything(draw: Draw) -> CaseSteps:
    """Put a few rows in."""
    store = yield New("Store", 6, COLUMNS)
    rows = draw.normal_tensor(6, COLUMNS)
    for first in (0, 2, 4):
        yield Call(store, "put", rows[first : first + 2].clone())
    got = yield Call(store, "get")
    yield Expect(got, rows, label="all rows", exact=True)


@workload("Store", "memory", sizes=(6,))
def memory(draw: Draw, size: int) -> WorkloadSteps:
    """24 MiB come in chunks of 4 MiB, whose memory is taken back."""
    return _put(draw, size, 1024)
