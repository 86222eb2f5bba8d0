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
        adamw: options of `torch.optim.AdamW`.
        sgd: options of `torch.optim.SGD`; with neither there is no optimizer.
        groups: parameter groups by number, as in `harness.groups`; all in one if None.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        adamw: dict[str, Any] | None = None,
        sgd: dict[str, Any] | None = None,
        groups: list[dict[str, Any]] | None = None,
    ) -> None:
        self.dtypes = [param.dtype for param in model.parameters()]
        self.model = copy.deepcopy(model).double()
        params = list(self.model.parameters())
        self._adamw, self._groups = adamw, groups or [{"params": list(range(len(params)))}]
        chosen = [
            {**own, "params": [params[place] for place in own["params"]]} for own in self._groups
        ]
        self.optimizer: torch.optim.Optimizer
        if adamw is not None:
            self.optimizer = torch.optim.AdamW(chosen, **adamw)
        if sgd is not None:
            self.optimizer = torch.optim.SGD(chosen, **sgd)

    def fresh(self) -> "OneProcess":
        """Return another one of the same model and groups, without any state."""
        other = OneProcess(self.model, adamw=self._adamw, groups=self._groups)
        other.dtypes = self.dtypes
        return other

    def load_state(self, saved: dict[str, Any]) -> None:
        """Continue from what `saved` returned, without what the optimizer had before."""
        form = self.optimizer.state_dict()
        state = {
            number: {
                "step": torch.tensor(float(entry["step"])),
                "exp_avg": entry["exp_avg"].clone(),
                "exp_avg_sq": entry["exp_avg_sq"].clone(),
            }
            for number, entry in saved["state"].items()
        }
        groups = [
            {**own, **group}
            for own, group in zip(form["param_groups"], saved["param_groups"], strict=True)
        ]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

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

    def evaluate(self, batch: Batch, options: dict[str, Any] | None = None) -> Tensor:
        """Return the mean loss of some rows."""
        with torch.no_grad():
            return mean_loss(self.model, batch, options or {})

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

    def saved(self) -> dict[str, Any]:
        """Return the optimizer's state and groups, parameters counted through all groups.

        Moments are rounded to the dtypes of the ranks' model.
        """
        form = self.optimizer.state_dict()
        dtype_of = dict(zip(self.model.parameters(), self.dtypes, strict=True))
        dtypes = [dtype_of[p] for group in self.optimizer.param_groups for p in group["params"]]
        state = {
            number: {
                "step": int(entry["step"]),
                "exp_avg": entry["exp_avg"].to(dtypes[number]),
                "exp_avg_sq": entry["exp_avg_sq"].to(dtypes[number]),
            }
            for number, entry in form["state"].items()
        }
        options = ("params", "lr", "betas", "eps", "weight_decay")
        groups = [{name: group[name] for name in options} for group in form["param_groups"]]
        return {"state": state, "param_groups": groups}


def mean_loss(model: nn.Module, batch: Batch, options: dict[str, Any]) -> Tensor:
    """Return the mean loss of a batch: rows of floats, or tokens and targets of a GPT."""
    if len(batch) == 1:
        loss: Tensor = model(batch[0].double(), **options).mean()
        return loss
    logits_BTV = model(batch[0], **options)
    return nn.functional.cross_entropy(logits_BTV.flatten(0, 1), batch[1].flatten())


def clipped(
    shards: Sequence[Sequence[Tensor]], max_norm: float
) -> tuple[Tensor, list[list[Tensor]]]:
    """Return the norm over all ranks' shards and the shards as they should be afterwards."""
    norm = math.sqrt(sum(float(x.double().square().sum()) for rank in shards for x in rank))
    factor = max_norm / norm if max_norm < norm < math.inf else 1.0
    after = [[(x.double() * factor).to(x.dtype) for x in rank] for rank in shards]
    return torch.tensor(norm, dtype=torch.float64), after
