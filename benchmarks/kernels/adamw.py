"""`adamw` against torch's fused and unfused AdamW; with a low-precision copy, and its casts too.

Takes: a bench. Gives: `cases`: all in fp32, and half-precision gradients with a half-precision copy
of the weights, which torch's optimizer wants cast. Does not cover: goals; several tensors.

Each contender has weights and moments of its own, and takes as many steps as it is timed.
"""

import sys

import torch

from benchmarks.kernels._case import Bench, Case, Cases, Contender
from benchmarks.kernels._command import main

Size = tuple[int, bool]
FULL = ((2**27, False), (2**27, True))
TINY = ((1000, False), (1000, True))
LR = 1e-3


def cases(bench: Bench) -> Cases:
    """Return the cases."""
    return bench.each(make, FULL, tiny=TINY)


def make(bench: Bench, size: Size) -> Case:
    """Return the case of one tensor, perhaps with a gradient and a copy in half precision."""
    parameters, mixed = size
    op = bench.load("adamw")
    weights = bench.draw(parameters, dtype=torch.float32)
    gradient = bench.draw(parameters, dtype=bench.device.half if mixed else torch.float32)
    copy = torch.empty_like(gradient) if mixed else None
    w, moments = weights.clone(), (torch.zeros_like(weights), torch.zeros_like(weights))
    rule = op.Rule(lr=LR)

    def step() -> torch.Tensor:
        op.adamw(w, gradient, moments, step=1, rule=rule, copy=copy)
        return w

    element_bytes = gradient.element_size()
    kind = f"fp32, {str(bench.device.half).removeprefix('torch.')} gradient and copy"
    return Case(
        shape=f"{parameters} {kind if mixed else 'fp32'}",
        bytes_moved=op.bytes_moved(
            parameters=parameters,
            gradient_bytes=element_bytes,
            copy_bytes=element_bytes if mixed else 0,
        ),
        flops=op.flops(parameters=parameters),
        contenders=(
            bench.ours(step),
            rival("torch fused", weights, gradient, mixed=mixed, fused=True),
            rival("torch unfused", weights, gradient, mixed=mixed, fused=False),
        ),
    )


def rival(
    name: str, weights: torch.Tensor, gradient: torch.Tensor, *, mixed: bool, fused: bool
) -> Contender:
    """Return torch's optimizer as a contender, with the casts that mixed precision adds."""
    own = torch.nn.Parameter(weights.clone())
    copy = torch.empty_like(gradient)
    own.grad = gradient.float()
    optimizer = torch.optim.AdamW([own], lr=LR, weight_decay=0.01, fused=fused)

    def step() -> torch.Tensor:
        if mixed:
            own.grad = gradient.float()
        optimizer.step()
        if mixed:
            copy.copy_(own.detach())
        return own

    return Contender(name=name, call=step)


if __name__ == "__main__":
    sys.exit(main(__file__, cases))
