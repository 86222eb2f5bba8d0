"""Single-process training: what every rank of a group should end with, in plain torch and float64.

Takes: modules, and per step the batch of each rank. Gives: gradients, parameters and optimizer
state. Does not cover: ranks, buckets, shards (nothing here knows of them).
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

Tensor = torch.Tensor
Batch = tuple[Tensor, ...]


class OneProcess:
    """Trains a float64 copy of a model on the rows of all ranks at once.

    Args:
        model: what ranks train; stays as it is.
        adamw: options of `torch.optim.AdamW`; None for no optimizer.
        groups: parameter groups by number, as in `harness.groups`; all in one if None.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        adamw: dict[str, Any] | None = None,
        groups: list[dict[str, Any]] | None = None,
    ) -> None:
        self.dtypes = [param.dtype for param in model.parameters()]
        self.model = copy.deepcopy(model).double()
        params = list(self.model.parameters())
        parts = groups or [{"params": list(range(len(params)))}]
        if adamw is not None:
            chosen = [{**p, "params": [params[number] for number in p["params"]]} for p in parts]
            self.optimizer = torch.optim.AdamW(chosen, **adamw)

    def backward(self, batches: Sequence[Batch], options: Sequence[dict[str, Any]] = ()) -> Tensor:
        """Add the gradient of the mean over ranks of each rank's mean loss; return the losses."""
        losses = []
        for number, batch in enumerate(batches):
            loss = mean_loss(self.model, batch, options[number] if options else {})
            (loss / len(batches)).backward()
            losses.append(loss.detach())
        return torch.stack(losses)

    def update(self) -> None:
        """Step, then forget the gradients."""
        self.optimizer.step()
        self.optimizer.zero_grad()

    def evaluate(self, batch: Batch) -> Tensor:
        """Return the mean loss of some rows."""
        with torch.no_grad():
            return mean_loss(self.model, batch, {})

    def gradients(self) -> list[Tensor | None]:
        """Return the gradients in the dtypes of the ranks' model."""
        return [
            None if param.grad is None else param.grad.to(dtype)
            for param, dtype in zip(self.model.parameters(), self.dtypes, strict=True)
        ]

    def weights(self) -> list[Tensor]:
        """Return the parameters in the dtypes of the ranks' model."""
        params = zip(self.model.parameters(), self.dtypes, strict=True)
        return [param.detach().to(dtype) for param, dtype in params]

    def moments(self) -> dict[int, dict[str, Any]]:
        """Return step, exp_avg and exp_avg_sq by number of the parameter, as AdamW saves them."""
        state = self.optimizer.state_dict()["state"]
        return {
            number: {
                "step": int(entry["step"]),
                "exp_avg": entry["exp_avg"].to(self.dtypes[number]),
                "exp_avg_sq": entry["exp_avg_sq"].to(self.dtypes[number]),
            }
            for number, entry in state.items()
        }


def mean_loss(model: nn.Module, batch: Batch, options: dict[str, Any]) -> Tensor:
    """Return the mean loss of a batch: rows of floats, or tokens and targets of a GPT."""
    if len(batch) == 1:
        loss: Tensor = model(batch[0].double(), **options).mean()
        return loss
    logits_BTV = model(batch[0], **options)
    return nn.functional.cross_entropy(logits_BTV.flatten(0, 1), batch[1].flatten())


def stack_rows(base: Tensor, rows: list[int], *, n_layers: int, width: int) -> list[nn.Parameter]:
    """Return the chosen rows of each matrix of a `Stack` as it begins, float64, [rows, W] each."""
    return [
        nn.Parameter(
            torch.stack([base[n * width + row : n * width + row + width] for row in rows]).double()
        )
        for n in range(n_layers)
    ]


def stack_loss(matrices: list[nn.Parameter], x_BK: Tensor) -> Tensor:
    """Return the part of a `Stack`'s mean loss that the chosen rows take part in."""
    x = x_BK.double()
    return sum(
        (0.5 * (x @ matrix.t()).square().sum(dim=1).mean() for matrix in matrices),
        torch.zeros((), dtype=torch.float64),
    )


def clipped(
    shards: Sequence[Sequence[Tensor]], max_norm: float
) -> tuple[Tensor, list[list[Tensor]]]:
    """Return the norm over all ranks' shards and the shards as they should be afterwards."""
    norm = math.sqrt(sum(float(x.double().square().sum()) for rank in shards for x in rank))
    factor = max_norm / norm if max_norm < norm < math.inf else 1.0
    after = [[(x.double() * factor).to(x.dtype) for x in rank] for rank in shards]
    return torch.tensor(norm, dtype=torch.float64), after


def stack_loss_after_step(base: Tensor, first: Tensor, second: Tensor, lr: float) -> Tensor:
    """Return a `Stack`'s mean loss on a batch after a step of gradient descent, float64.

    A step takes lr / B * Y^T X from a matrix, with the inputs X [B, W] and the outputs Y = X W^T of
    the first batch; so the second batch's outputs Y2 become Y2 - lr / B * (X2 X^T) Y.

    Args:
        base: numbers that the matrices begin with, [(L + 1) * W].
        first: inputs of all ranks in that step, [B, W].
        second: inputs of one rank afterwards, [rows, W].
        lr: the rate of that step.
    """
    width = first.shape[1]
    inputs, later = first.double(), second.double()
    turn = (lr / len(inputs)) * (later @ inputs.T)
    total = torch.zeros(len(later), dtype=torch.float64)
    for start in range(0, len(base) - width, width):
        weight_WW = base[start : start + 2 * width - 1].double().unfold(0, width, 1)
        outputs = later @ weight_WW.T - turn @ (inputs @ weight_WW.T)
        total += 0.5 * outputs.square().sum(dim=1)
    return total.mean()
