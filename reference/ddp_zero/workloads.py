"""What is measured: network traffic in bytes, peak memory per rank, the time of a step.

Takes: `Draw` and a size, the width of a `Tower`. Gives: workloads. Does not cover: tiers and points
(see `assignment.toml`).

All but one train a `Tower` (see `towers`). N ranks, P bytes of parameters, G = P of gradients.
"""

import torch

from grader.author import (
    Call,
    Draw,
    Each,
    Expect,
    New,
    PhaseEnd,
    PhaseStart,
    Work,
    WorkloadSteps,
    World,
    workload,
)

from .inputs import ADAMW
from .tiny_gpt import TinyGPT
from .towers import TowerOnRanks, losses_of, new_tower, once

Tensor = torch.Tensor

STEPS = 3
"""Of an optimizer whose memory is measured: the first needs no state, the second could make it anew
from one gradient."""

LEARNING_RATE = 0.01
"""Of plain gradient descent: AdamW's state would hide what `FSDP` itself holds."""


def _mebibytes(nbytes: int) -> str:
    return f"{nbytes / 2**20:.4g} MiB"


@workload("broadcast_module", "traffic", sizes=(96,))
def broadcast_traffic(draw: Draw, size: int) -> WorkloadSteps:
    """A small GPT whose embedding, tied to its output, is most of it; 3 ranks."""
    world, seed = 3, draw.integer(1, 1 << 20)
    sizes = {"vocab_size": 8192, "width": size, "n_layers": 1}
    yield World(world)
    seeds = [seed, *(draw.integer(1, 1 << 20) for _ in range(world - 1))]
    model = yield Each(*(New("harness:TinyGPT", seed=own, **sizes) for own in seeds))
    state = yield Each(New("harness:State", model))
    yield PhaseStart()
    yield Each(Call("broadcast_module", model))
    yield PhaseEnd()
    single = TinyGPT(seed=seed, **sizes)
    nbytes = sum(x.nbytes for x in (*single.parameters(), *single.buffers()))
    yield Work(
        traffic_bytes=(world - 1) * nbytes,
        derivation=f"(N-1) * (P + buffers) = 2 * {_mebibytes(nbytes)}, tied weights once",
    )
    got = yield Each(Call(state, "parameters"))
    want = [param.detach() for param in single.parameters()]
    yield Expect(got, [want] * world, label="parameters of each rank", exact=True)


@workload("DDP", "traffic", sizes=(512,))
def ddp_traffic(draw: Draw, size: int) -> WorkloadSteps:
    """Three backward passes of 8 MiB of gradients, of which the last synchronises; 3 ranks."""
    tower = yield from new_tower(draw, 3, 8, size)
    engine = yield Each(New("DDP", tower.ref, bucket_bytes=3 << 20))
    loop = yield Each(New("harness:Loop", tower.ref, engine=engine))
    passes = [tower.batches(draw) for _ in range(3)]
    yield PhaseStart()
    for number, batches in enumerate(passes):
        yield Each(*(Call(loop, "backward", x, sync=number == 2) for x in batches))
    got = yield Each(Call(loop, "sampled_gradients", tower.numbers))
    yield PhaseEnd()
    yield Work(
        traffic_bytes=2 * (tower.world - 1) * tower.nbytes,
        derivation=f"2 * (N-1) * G = 4 * {_mebibytes(tower.nbytes)}, once for three passes",
    )
    want = _gradients_after(tower, passes)
    yield Expect(got, [want[:-1]] * tower.world, label="gradients after three passes")


@workload("DDP", "overlap", sizes=(512,))
def ddp_overlap(draw: Draw, size: int) -> WorkloadSteps:
    """Backward of 12 layers whose gradients take about as long to send as to compute; 2 ranks."""
    tower = yield from new_tower(draw, 2, 12, size)
    engine = yield Each(New("DDP", tower.ref, bucket_bytes=1 << 20))
    loop = yield Each(New("harness:Loop", tower.ref, engine=engine))
    passes = [tower.batches(draw), tower.batches(draw, rows=1024)]
    yield Each(*(Call(loop, "backward", x) for x in passes[0]))
    yield PhaseStart()
    losses = yield Each(*(Call(loop, "backward", x) for x in passes[1]))
    got = yield Each(Call(loop, "sampled_gradients", tower.numbers))
    yield PhaseEnd()
    yield Work(
        traffic_bytes=2 * (tower.world - 1) * tower.nbytes,
        derivation=f"2 * (N-1) * G = 2 * {_mebibytes(tower.nbytes)}",
    )
    *want, last = _gradients_after(tower, passes)
    yield Expect(got, [want] * tower.world, label="gradients after two passes")
    yield Expect(losses, list(last), label="loss of each rank")


def _gradients_after(tower: TowerOnRanks, passes: list[list[Tensor]]) -> list[Tensor]:
    """Return the compared rows of the gradients after some passes, and the last one's losses."""

    def compute() -> list[Tensor]:
        model = tower.own()
        for batches in passes:
            losses = losses_of(model, batches)
            losses.mean().backward()
        return [*tower.gradients_of(model), losses.detach()]

    return once([tower.base, *(x for batches in passes for x in batches)], compute)


def _zero_steps(draw: Draw, tower: TowerOnRanks, stage: int, count: int) -> WorkloadSteps:
    """Take steps of `ZeroOptimizer` on a `Tower`; the phase holds nothing else."""
    params = yield Each(New("harness:parameters", tower.ref))
    optimizer = yield Each(New("ZeroOptimizer", params, stage=stage, **ADAMW))
    loop = yield Each(New("harness:Loop", tower.ref, optimizer=optimizer))
    steps = [tower.batches(draw) for _ in range(count)]
    yield PhaseStart()
    yield Each(*(Call(loop, "train", [(x,) for x in own]) for own in zip(*steps, strict=True)))
    got = yield Each(Call(loop, "sampled", tower.numbers))
    yield PhaseEnd()

    def compute() -> list[Tensor]:
        model = tower.own()
        single = torch.optim.AdamW(model.parameters(), **ADAMW)
        for batches in steps:
            losses_of(model, batches).mean().backward()
            single.step()
            single.zero_grad()
        return tower.rows_of(model)

    want = once([tower.base, *(x for batches in steps for x in batches)], compute)
    yield Expect(got, [want] * tower.world, label=f"parameters after {count} steps")


def _zero_traffic(draw: Draw, width: int, stage: int) -> WorkloadSteps:
    tower = yield from new_tower(draw, 3, 8, width)
    yield Work(
        traffic_bytes=2 * (tower.world - 1) * tower.nbytes,
        derivation=f"(N-1) * G + (N-1) * P = 4 * {_mebibytes(tower.nbytes)}",
    )
    yield from _zero_steps(draw, tower, stage, 1)


@workload("ZeroOptimizer", "stage_1_traffic", sizes=(512,))
def stage_1_traffic(draw: Draw, size: int) -> WorkloadSteps:
    """One step of stage 1 over 8 MiB of parameters; 3 ranks."""
    yield from _zero_traffic(draw, size, 1)


@workload("ZeroOptimizer", "stage_2_traffic", sizes=(512,))
def stage_2_traffic(draw: Draw, size: int) -> WorkloadSteps:
    """One step of stage 2 over 8 MiB of parameters; 3 ranks."""
    yield from _zero_traffic(draw, size, 2)


@workload("ZeroOptimizer", "stage_1_memory", sizes=(512,))
def stage_1_memory(draw: Draw, size: int) -> WorkloadSteps:
    """Three steps of stage 1 over 48 MiB of parameters; 3 ranks: P + G + 2P/N = 2.67 P, 128 MiB."""
    tower = yield from new_tower(draw, 3, 48, size)
    yield from _zero_steps(draw, tower, 1, STEPS)


@workload("ZeroOptimizer", "stage_2_memory", sizes=(512,))
def stage_2_memory(draw: Draw, size: int) -> WorkloadSteps:
    """Three steps of stage 2 over 48 MiB of parameters; 3 ranks: P + G/N + 2P/N = 2 P, 96 MiB."""
    tower = yield from new_tower(draw, 3, 48, size)
    yield from _zero_steps(draw, tower, 2, STEPS)


@workload("FSDP", "traffic", sizes=(384,))
def fsdp_traffic(draw: Draw, size: int) -> WorkloadSteps:
    """A step and an evaluation over 18 MiB of parameters in 32 units; 3 ranks."""
    tower = yield from new_tower(draw, 3, 32, size)
    yield Work(
        traffic_bytes=4 * (tower.world - 1) * tower.nbytes,
        derivation=(
            "2 gathers, 1 reduce-scatter, 1 gather to evaluate: "
            f"4 * (N-1) * P = 8 * {_mebibytes(tower.nbytes)}"
        ),
    )
    units = [f"layers.{number}" for number in range(tower.n_layers)]
    engine = yield Each(New("FSDP", tower.ref, units))
    loop = yield Each(New("harness:Loop", tower.ref, engine=engine, sgd={"lr": LEARNING_RATE}))
    first, second = tower.batches(draw), tower.batches(draw)
    yield PhaseStart()
    before = yield Each(*(Call(loop, "backward", x) for x in first))
    yield Each(Call(loop, "update"))
    after = yield Each(*(Call(loop, "evaluate", x) for x in second))
    yield PhaseEnd()

    def compute() -> list[Tensor]:
        model = tower.own()
        losses = losses_of(model, first)
        losses.mean().backward()
        torch.optim.SGD(model.parameters(), lr=LEARNING_RATE).step()
        with torch.no_grad():
            return [losses.detach(), losses_of(model, second), *tower.rows_of(model)]

    was, now, *want = once([tower.base, *first, *second], compute)
    yield Expect(before, list(was), label="loss of each rank")
    yield Expect(after, list(now), label="loss of each rank after a step")
    got = yield Each(Call(loop, "sampled_state", tower.numbers))
    yield Expect(got, [want] * tower.world, label="parameters after a step")


@workload("FSDP", "memory", sizes=(512,))
def fsdp_memory(draw: Draw, size: int) -> WorkloadSteps:
    """Two steps of AdamW over 48 MiB of parameters; 3 ranks: 4P/N + 2 of 48 units, 66 MiB.

    The model alone, before it is divided, is less than that; AdamW's first step needs no state.
    """
    tower = yield from new_tower(draw, 3, 48, size)
    units = [f"layers.{number}" for number in range(tower.n_layers)]
    engine = yield Each(New("FSDP", tower.ref, units))
    loop = yield Each(New("harness:Loop", tower.ref, engine=engine, adamw=ADAMW))
    steps = [tower.batches(draw) for _ in range(2)]
    losses = []
    yield PhaseStart()
    for batches in steps:
        losses.append((yield Each(*(Call(loop, "backward", x) for x in batches))))
        yield Each(Call(loop, "update"))
    yield PhaseEnd()

    def compute() -> list[Tensor]:
        model, means = tower.own(), []
        single = torch.optim.AdamW(model.parameters(), **ADAMW)
        for batches in steps:
            means.append(losses_of(model, batches))
            means[-1].mean().backward()
            single.step()
            single.zero_grad()
        return [*(mean.detach() for mean in means), *tower.rows_of(model)]

    first, second, *want = once([tower.base, *(x for one in steps for x in one)], compute)
    yield Expect(losses[0], list(first), label="loss of each rank")
    yield Expect(losses[1], list(second), label="loss of each rank after a step")
    got = yield Each(Call(loop, "sampled_state", tower.numbers))
    yield Expect(got, [want] * tower.world, label="parameters after 2 steps")
