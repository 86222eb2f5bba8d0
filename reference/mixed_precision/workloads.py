"""What is measured: memory of activations and of an optimizer's state; their times on a GPU.

Takes: `Draw` and a size. Gives: workloads. Does not cover: tiers and points (see
`assignment.toml`).

Both payloads have 256 MiB or more, in which what torch takes for itself drowns. Rows of a `Chain`
do not depend on each other, and every tensor of `WideParameters` repeats 4096 numbers: so the judge
computes a few rows or one tensor, which is named only when it is read.
"""

from functools import cache

import torch

from grader.assignment.steps import Value
from grader.author import Call, Draw, Expect, New, PhaseEnd, Work, WorkloadSteps, workload

from .oracle import AdamW, under_policy
from .tiny_gpt import Linear

Tensor = torch.Tensor

LOW = torch.bfloat16
PATTERN = 4096


@cache
def _layers(n_blocks: int, width: int, hidden: int) -> list[tuple[Linear, Linear]]:
    """Return the linear layers of a `Chain`, made once for all runs."""
    return [
        (Linear(i, "up", width, hidden), Linear(i, "down", hidden, width)) for i in range(n_blocks)
    ]


def _chain(x: Tensor, layers: list[tuple[Linear, Linear]]) -> Tensor:
    """Return what a `Chain` makes of some rows under the policy, every operation rounded once."""
    width = x.shape[1]
    for up, down in layers:
        norm = {"0": x, "normalized_shape": [width]}  # weights 1 and biases 0
        h = under_policy("layer_norm", norm, LOW)
        h = under_policy("linear", {"0": h, "1": up.weight, "2": up.bias}, LOW)
        h = under_policy("gelu", {"0": h}, LOW)
        h = under_policy("linear", {"0": h, "1": down.weight, "2": down.bias}, LOW)
        x = under_policy("add", {"0": x, "1": h}, LOW)
    return x


def _some(got: Value, shape: torch.Size, rows: Tensor) -> Value:
    """Return rows of a reply; all of it if it has another form than expected."""
    fits = isinstance(got, Tensor) and got.shape == shape
    return got[rows] if fits else got


def _forward_and_backward(
    draw: Draw, tokens: int, *, n_blocks: int, width: int, hidden: int, backward_counts: bool
) -> WorkloadSteps:
    sizes = {"n_blocks": n_blocks, "width": width, "hidden": hidden}
    short = draw.normal_tensor(1024, width)
    x = torch.cat([short.roll(n, dims=-1) * (1 + n % 3) for n in range(tokens // 1024)])
    rows = draw.integer_tensor(8, low=0, high=tokens - 1).unique()
    upstream = draw.normal_tensor(len(rows), width)
    chain = yield New("harness:Chain", x[:1], **sizes)
    got = yield Call("autocast_forward", chain, x, low=LOW)
    if not backward_counts:  # what the graph holds is held now
        yield PhaseEnd()
    layers = _layers(n_blocks, width, hidden)
    want = _chain(x[rows], layers)
    yield Expect(_some(got, x.shape, rows), want.detach(), label="rows of the output")
    name = f"ups.{n_blocks // 2}.weight"
    got = yield Call(chain, "gradient", name, upstream, rows)
    # Twice the FLOPs of the forward pass again in the backward pass, per multiply-add 2.
    flops = 3 * 2 * tokens * 2 * width * hidden * n_blocks
    yield Work(flops=flops, dtype="bfloat16")
    weight = layers[n_blocks // 2][0].weight
    (gradient,) = torch.autograd.grad(want, [weight], upstream)
    yield Expect(got, gradient, label=f"gradient of {name}")


@workload("autocast_forward", "activation_memory", sizes=(16384,))
def activation_memory(draw: Draw, size: int) -> WorkloadSteps:
    """12 blocks over 16384 tokens hold 264 MiB for the backward pass, 480 in float32."""
    yield from _forward_and_backward(
        draw, size, n_blocks=12, width=64, hidden=256, backward_counts=False
    )


@workload("autocast_forward", "step_time", sizes=(8192,))
def step_time(draw: Draw, size: int) -> WorkloadSteps:
    """Forward and backward pass of 6 blocks of 1024 × 4096 over 8192 tokens, 2.5 TFLOP."""
    yield from _forward_and_backward(
        draw, size, n_blocks=6, width=1024, hidden=4096, backward_counts=True
    )


def _pattern() -> Tensor:
    """Return the 4096 numbers that `WideParameters` repeats."""
    return (((torch.arange(PATTERN) * 2654435761) >> 7) % 4096).float() / 2048 - 1


def _steps_of_adamw(draw: Draw, *, count: int, numel: int, fills: int, steps: int) -> WorkloadSteps:
    """Fill gradients and take steps; then compare entries of one tensor that is drawn."""
    rule = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.1}
    params = yield New("harness:WideParameters", count, numel, LOW, torch.zeros(1))
    optimizer = yield New("MasterAdamW", params, **rule)
    number, places = draw.integer(0, count - 1), draw.integer_tensor(999, low=0, high=numel - 1)
    model = AdamW(weight=_pattern().roll(number).to(LOW), **rule)
    for fill in range(fills):
        yield Call(params, "fill_gradients", fill)
        gradient = (_pattern().roll(97 * fill + 5 * number + 1) / (1 + fill)).to(LOW)
        for _ in range(steps):
            yield Call(optimizer, "step")
            model.step(gradient)
    # Within the phase: steps that were put off until somebody looks count as well.
    got = yield Call(params, "at", number, places)
    # Read and write w, m, v in float32, read the gradient, write the parameter.
    yield Work(bytes_moved=fills * steps * count * numel * (24 + 2 + 2))
    yield PhaseEnd()
    want = model.weight.float().to(LOW)[places % PATTERN]
    yield Expect(got, want, label=f"entries of parameter {number}")


@workload("MasterAdamW", "state_memory", sizes=(32,))
def state_memory(draw: Draw, size: int) -> WorkloadSteps:
    """32 parameters of 524288 numbers: 16 bytes each are 256 MiB."""
    yield from _steps_of_adamw(draw, count=size, numel=1 << 19, fills=2, steps=1)


@workload("MasterAdamW", "step_time", sizes=(64,))
def adamw_time(draw: Draw, size: int) -> WorkloadSteps:
    """50 steps of 64 parameters of 4 million numbers: 7.5 GB are moved in each."""
    yield from _steps_of_adamw(draw, count=size, numel=1 << 22, fills=1, steps=50)
