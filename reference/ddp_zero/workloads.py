"""What is measured: bytes on the wire, peak memory per rank, the time of a step.

Takes: `Draw` and a size, the width of a `Stack`. Gives: workloads. Does not cover: tiers and points
(see `assignment.toml`).

All but one train a `Stack`: as many bytes as wanted, hardly any arithmetic, and rows that the judge
follows alone. N ranks, P bytes of parameters, G = P bytes of gradients.
"""

from dataclasses import dataclass

import torch
from torch import nn

from grader.author import (
    Call,
    Draw,
    Each,
    Expect,
    New,
    PhaseEnd,
    PhaseStart,
    Ref,
    Value,
    Work,
    WorkloadSteps,
    World,
    workload,
)

from .inputs import ADAMW
from .oracle import stack_loss, stack_loss_after_step, stack_rows
from .tiny_gpt import TinyGPT

Tensor = torch.Tensor

ROWS = 3
"""Rows of each matrix that are compared. Ranks are told which when they are read: whoever knew them
sooner would need to reduce, step and keep no others. They are read within the phase, so that what
was put off until then counts as well."""

STEPS = 3
"""Of an optimizer whose memory is measured: the first needs no state, the second could make it anew
from one gradient."""

LEARNING_RATE = 0.5
"""Of plain gradient descent: AdamW's state would hide what `FSDP` itself holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stack:
    """A `Stack` on every rank and the rows that the judge follows.

    Attributes:
        ref: the module, on every rank.
        world: N.
        n_layers: matrices.
        width: rows and columns of each.
        base: numbers that the matrices begin with.
        numbers: which rows are followed.
        rows: they themselves, float64, [ROWS, W] of each matrix.
    """

    ref: Ref
    world: int
    n_layers: int
    width: int
    base: Tensor
    numbers: list[int]
    rows: list[nn.Parameter]

    @property
    def nbytes(self) -> int:
        """Bytes of parameters, P."""
        return 4 * self.n_layers * self.width**2

    def batches(self, draw: Draw, rows: int = 2) -> list[Tensor]:
        """Return a batch for each rank."""
        return [draw.normal_tensor(rows, self.width) for _ in range(self.world)]

    def backward(self, batches: list[Tensor]) -> None:
        """Add the gradients of a pass to the followed rows'."""
        (sum(stack_loss(self.rows, x) for x in batches) / self.world).backward()  # type: ignore[union-attr]

    def train(self, steps: list[list[Tensor]]) -> None:
        """Step the followed rows with AdamW, once for each list of batches."""
        optimizer = torch.optim.AdamW(self.rows, **ADAMW)
        for batches in steps:
            self.backward(batches)
            optimizer.step()
            optimizer.zero_grad()

    def weights(self) -> list[Tensor]:
        """Return the followed rows."""
        return [row.detach().float() for row in self.rows]

    def gradients(self) -> list[Tensor]:
        """Return the gradients of the followed rows."""
        return [row.grad.float() for row in self.rows if row.grad is not None]


def _new_stack(draw: Draw, world: int, n_layers: int, width: int) -> WorkloadSteps:
    """Start a world and the same `Stack` on every rank of it."""
    base = draw.normal_tensor((n_layers + 1) * width, scale=width**-0.5)
    numbers = sorted(draw.shuffled(range(width))[:ROWS])
    yield World(world)
    ref = yield Each(New("harness:Stack", base, n_layers=n_layers, width=width))
    return _Stack(
        ref=ref,
        world=world,
        n_layers=n_layers,
        width=width,
        base=base,
        numbers=numbers,
        rows=stack_rows(base, numbers, n_layers=n_layers, width=width),
    )


def _mebibytes(nbytes: int) -> str:
    return f"{nbytes / 2**20:.4g} MiB"


def _expect(stack: _Stack, got: Value, want: list[Tensor], label: str) -> WorkloadSteps:
    yield Expect(got, [want] * stack.world, label=label)


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
        wire_bytes=(world - 1) * nbytes,
        derivation=f"(N-1) * (P + buffers) = 2 * {_mebibytes(nbytes)}, tied weights once",
    )
    got = yield Each(Call(state, "parameters"))
    want = [param.detach() for param in single.parameters()]
    yield Expect(got, [want] * world, label="parameters of each rank", exact=True)


@workload("DDP", "traffic", sizes=(512,))
def ddp_traffic(draw: Draw, size: int) -> WorkloadSteps:
    """Three backward passes of 8 MiB of gradients, of which the last synchronises; 3 ranks."""
    stack = yield from _new_stack(draw, 3, 8, size)
    engine = yield Each(New("DDP", stack.ref, bucket_bytes=3 << 20))
    loop = yield Each(New("harness:Loop", stack.ref, engine=engine))
    yield PhaseStart()
    for sync in (False, False, True):
        batches = stack.batches(draw)
        yield Each(*(Call(loop, "backward", x, sync=sync) for x in batches))
        stack.backward(batches)
    got = yield Each(Call(loop, "sampled_gradients", stack.numbers))
    yield PhaseEnd()
    yield Work(
        wire_bytes=2 * (stack.world - 1) * stack.nbytes,
        derivation=f"2 * (N-1) * G = 4 * {_mebibytes(stack.nbytes)}, once for three passes",
    )
    yield from _expect(stack, got, stack.gradients(), "gradients after three passes")


@workload("DDP", "overlap", sizes=(512,))
def ddp_overlap(draw: Draw, size: int) -> WorkloadSteps:
    """Backward of 12 layers whose gradients take about as long to send as to compute; 2 ranks."""
    stack = yield from _new_stack(draw, 2, 12, size)
    engine = yield Each(New("DDP", stack.ref, bucket_bytes=1 << 20))
    loop = yield Each(New("harness:Loop", stack.ref, engine=engine))
    warm = stack.batches(draw, rows=1024)
    yield Each(*(Call(loop, "backward", x) for x in warm))
    stack.backward(warm)
    yield PhaseStart()
    batches = stack.batches(draw, rows=1024)
    yield Each(*(Call(loop, "backward", x) for x in batches))
    got = yield Each(Call(loop, "sampled_gradients", stack.numbers))
    yield PhaseEnd()
    nbytes = stack.nbytes
    yield Work(
        wire_bytes=2 * (stack.world - 1) * nbytes,
        derivation=f"2 * (N-1) * G = 2 * {_mebibytes(nbytes)}",
    )
    stack.backward(batches)
    yield from _expect(stack, got, stack.gradients(), "gradients after two passes")


def _zero_steps(draw: Draw, stack: _Stack, stage: int, count: int) -> WorkloadSteps:
    """Take steps of `ZeroOptimizer` on a `Stack`; the phase holds nothing else."""
    params = yield Each(New("harness:parameters", stack.ref))
    optimizer = yield Each(New("ZeroOptimizer", params, stage=stage, **ADAMW))
    loop = yield Each(New("harness:Loop", stack.ref, optimizer=optimizer))
    steps = [stack.batches(draw) for _ in range(count)]
    yield PhaseStart()
    yield Each(*(Call(loop, "train", [(x,) for x in own]) for own in zip(*steps, strict=True)))
    got = yield Each(Call(loop, "sampled", stack.numbers))
    yield PhaseEnd()
    stack.train(steps)
    yield from _expect(stack, got, stack.weights(), f"parameters after {count} steps")


def _zero_traffic(draw: Draw, width: int, stage: int) -> WorkloadSteps:
    stack = yield from _new_stack(draw, 3, 8, width)
    yield Work(
        wire_bytes=2 * (stack.world - 1) * stack.nbytes,
        derivation=f"(N-1) * G + (N-1) * P = 4 * {_mebibytes(stack.nbytes)}",
    )
    yield from _zero_steps(draw, stack, stage, 1)


@workload("ZeroOptimizer", "stage_1_traffic", sizes=(512,))
def stage_1_traffic(draw: Draw, size: int) -> WorkloadSteps:
    """One step of stage 1 over 8 MiB of parameters; 3 ranks."""
    yield from _zero_traffic(draw, size, 1)


@workload("ZeroOptimizer", "stage_2_traffic", sizes=(512,))
def stage_2_traffic(draw: Draw, size: int) -> WorkloadSteps:
    """One step of stage 2 over 8 MiB of parameters; 3 ranks."""
    yield from _zero_traffic(draw, size, 2)


@workload("ZeroOptimizer", "stage_1_memory", sizes=(1024,))
def stage_1_memory(draw: Draw, size: int) -> WorkloadSteps:
    """Three steps of stage 1 over 48 MiB of parameters; 3 ranks: P + G + 2P/N = 2.67 P, 128 MiB."""
    stack = yield from _new_stack(draw, 3, 12, size)
    yield from _zero_steps(draw, stack, 1, STEPS)


@workload("ZeroOptimizer", "stage_2_memory", sizes=(1024,))
def stage_2_memory(draw: Draw, size: int) -> WorkloadSteps:
    """Three steps of stage 2 over 48 MiB of parameters; 3 ranks: P + G/N + 2P/N = 2 P, 96 MiB."""
    stack = yield from _new_stack(draw, 3, 12, size)
    yield from _zero_steps(draw, stack, 2, STEPS)


def _fsdp(stack: _Stack) -> WorkloadSteps:
    """Put an `FSDP` with a unit for each matrix around a `Stack`; return its loop."""
    units = [f"layers.{number}" for number in range(stack.n_layers)]
    engine = yield Each(New("FSDP", stack.ref, units))
    return (yield Each(New("harness:Loop", stack.ref, engine=engine, sgd={"lr": LEARNING_RATE})))


@workload("FSDP", "traffic", sizes=(384,))
def fsdp_traffic(draw: Draw, size: int) -> WorkloadSteps:
    """Forward and backward over 18 MiB of parameters in 32 units; 3 ranks."""
    stack = yield from _new_stack(draw, 3, 32, size)
    yield Work(
        wire_bytes=3 * (stack.world - 1) * stack.nbytes,
        derivation=f"2 gathers, 1 reduce-scatter: 3 * (N-1) * P = 6 * {_mebibytes(stack.nbytes)}",
    )
    loop = yield from _fsdp(stack)
    batches = stack.batches(draw)
    yield PhaseStart()
    yield Each(*(Call(loop, "backward", x) for x in batches))
    yield PhaseEnd()
    yield Each(Call(loop, "update"))
    stack.backward(batches)
    torch.optim.SGD(stack.rows, lr=LEARNING_RATE).step()
    got = yield Each(Call(loop, "sampled_state", stack.numbers))
    yield from _expect(stack, got, stack.weights(), "parameters after a step")


@workload("FSDP", "memory", sizes=(1024,))
def fsdp_memory(draw: Draw, size: int) -> WorkloadSteps:
    """A step and an evaluation over 128 MiB of parameters; 2 ranks: P/N + G/N + 2 of 32 units.

    The loss tells of every parameter; to gather them all would be memory as well.
    """
    stack = yield from _new_stack(draw, 2, 32, size)
    loop = yield from _fsdp(stack)
    first, second = stack.batches(draw), stack.batches(draw)
    yield PhaseStart()
    yield Each(*(Call(loop, "backward", x) for x in first))
    yield Each(Call(loop, "update"))
    got = yield Each(*(Call(loop, "evaluate", x) for x in second))
    yield PhaseEnd()
    want = [stack_loss_after_step(stack.base, torch.cat(first), x, LEARNING_RATE) for x in second]
    yield Expect(got, [loss.float() for loss in want], label="loss of each rank after a step")
