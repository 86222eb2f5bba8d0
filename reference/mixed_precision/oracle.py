"""What is right, slowly: AdamW, scaling, clipping and rounding in float64 or whole numbers.

Takes: tensors as submissions get them. Gives: expected values. Does not cover: inputs, tolerances.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from .tiny_gpt import OPERATIONS, TinyGPT

Tensor = torch.Tensor

HALVES = (torch.bfloat16, torch.float16)
IGNORED = -100

POLICY = {
    **dict.fromkeys(("linear", "matmul", "conv1d", "conv2d"), "low"),
    **dict.fromkeys(("add", "sub", "mul", "div", "maximum"), "widest"),
    **dict.fromkeys(("gelu", "relu", "embedding", "transpose", "reshape"), "widest"),
}
"""Precision by operation; "float32" where nothing is written."""


def policy_of(op: str) -> str:
    """Return the precision of an operation."""
    return POLICY.get(op, "float32")


def cast_dtype(op: str, dtypes: Sequence[torch.dtype], low: torch.dtype) -> torch.dtype:
    """Return the dtype in which an operation runs on floats of these dtypes."""
    if torch.float64 in dtypes:
        return torch.float64
    if policy_of(op) == "low":
        return low
    if policy_of(op) == "widest" and len(set(dtypes)) == 1:
        return dtypes[0]
    return torch.float32


def under_policy(
    op: str, inputs: dict[str, object], low: torch.dtype, **keywords: object
) -> Tensor:
    """Return the exact result of an operation on rounded inputs, rounded once.

    Inputs whose name begins with a digit go by place. The graph is kept: casts are part of it.
    """
    floats = [x for x in inputs.values() if isinstance(x, Tensor) and x.is_floating_point()]
    dtype = cast_dtype(op, [x.dtype for x in floats], low)

    def exact(x: object) -> object:
        is_float = isinstance(x, Tensor) and x.is_floating_point()
        return x.to(dtype).double() if is_float else x

    by_place = [exact(x) for name, x in inputs.items() if name[0].isdigit()]
    by_name = {name: exact(x) for name, x in inputs.items() if not name[0].isdigit()}
    return OPERATIONS[op](*by_place, **by_name, **keywords).to(dtype)


@dataclass(slots=True, kw_only=True)
class AdamW:
    """One parameter under AdamW, in float64; the published formula line by line."""

    weight: Tensor
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    steps: int = 0
    m: Tensor = field(init=False)
    v: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.weight = self.weight.double()
        self.m = torch.zeros_like(self.weight)
        self.v = torch.zeros_like(self.weight)

    def step(self, gradient: Tensor | None) -> None:
        """Take a step; without a gradient nothing moves."""
        if gradient is None:
            return
        g, (beta1, beta2) = gradient.double(), self.betas
        self.steps += 1
        self.weight = self.weight * (1 - self.lr * self.weight_decay)
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g.square()
        m_hat = self.m / (1 - beta1**self.steps)
        v_hat = self.v / (1 - beta2**self.steps)
        self.weight = self.weight - self.lr * m_hat / (v_hat.sqrt() + self.eps)


@dataclass(slots=True, kw_only=True)
class Scale:
    """The scale of a loss, round by round."""

    value: float
    growth: float
    backoff: float
    interval: int
    good_rounds: int = 0

    def end_round(self, *, overflow: bool, had_gradient: bool = True) -> None:
        """Adapt to what a round saw."""
        if overflow:
            self.value, self.good_rounds = max(self.value * self.backoff, 1.0), 0
        elif had_gradient:
            self.good_rounds += 1
            if self.good_rounds == self.interval:
                self.value, self.good_rounds = min(self.value * self.growth, 2.0**24), 0


class Momentum:
    """What `harness:Momentum` does, in float64; parameters are rounded to their dtypes."""

    def __init__(self, values: Sequence[Tensor], *, lr: float = 0.5, momentum: float = 0.5) -> None:
        self.values = [value.double() for value in values]
        self._dtypes = [value.dtype for value in values]
        self._buffers = [torch.zeros_like(value) for value in self.values]
        self._lr, self._momentum = lr, momentum

    def step(self, gradients: Sequence[Tensor | None]) -> None:
        """Take a step."""
        for i, g in enumerate(gradients):
            if g is not None:
                self._buffers[i] = self._momentum * self._buffers[i] + g.double()
                stepped = self.values[i] - self._lr * self._buffers[i]
                self.values[i] = stepped.to(self._dtypes[i]).double()


def global_norm(gradients: Sequence[Tensor | None]) -> float:
    """Return the norm of all entries of all gradients."""
    squares = [float(g.double().square().sum()) for g in gradients if g is not None]
    return math.sqrt(math.fsum(squares))


def gpt_gradients(
    seed: int, sizes: dict[str, int], pieces: Sequence[tuple[Tensor, Tensor]]
) -> tuple[Tensor, list[Tensor | None]]:
    """Return loss and gradients of all rows of all pieces as one batch, in float64."""
    model = TinyGPT(seed=seed, **sizes).double()
    logits = torch.cat([model(tokens).flatten(0, 1) for tokens, _ in pieces])
    targets = torch.cat([targets.flatten() for _, targets in pieces])
    loss = torch.nn.functional.cross_entropy(logits, targets)
    loss.backward()
    gradients = [None if p.grad is None else p.grad.float() for p in model.parameters()]
    return loss.detach().float(), gradients


def rounded_with(x: Tensor, noise: Tensor) -> Tensor:
    """Return float32 rounded to bfloat16 by the rule, number by number, in whole numbers."""
    patterns = x.contiguous().numpy().view(np.uint32).reshape(-1).tolist()
    flat = noise.reshape(-1).tolist()
    rounded = []
    for pattern, added in zip(patterns, flat, strict=True):
        sign, magnitude = pattern & 0x80000000, pattern & 0x7FFFFFFF
        if magnitude > 0x7F800000:  # NaN
            rounded.append(0x7FC0)
            continue
        upper, low = magnitude >> 16, magnitude & 0xFFFF
        rounded.append((sign >> 16) | (upper + (added + low >= 65536)))
    table = np.array(rounded, dtype=np.uint16).view(np.int16).reshape(x.shape)
    return torch.from_numpy(table).view(torch.bfloat16)


def trained(
    seed: int,
    sizes: dict[str, int],
    batches: Sequence[Sequence[tuple[Tensor, Tensor]]],
    *,
    lr: float,
    weight_decay: float,
    max_norm: float,
) -> Tensor:
    """Return the losses of training in float32, no precision mixed, whole batches at a time."""
    model = TinyGPT(seed=seed, **sizes)
    wanted = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(wanted, lr=lr, weight_decay=weight_decay, foreach=False)
    losses = []
    for pieces in batches:
        logits = torch.cat([model(tokens).flatten(0, 1) for tokens, _ in pieces])
        targets = torch.cat([targets.flatten() for _, targets in pieces])
        loss = torch.nn.functional.cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        norm = global_norm([p.grad for p in wanted])
        for p in wanted:
            if p.grad is not None and norm > max_norm:
                p.grad.mul_(max_norm / norm)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)
