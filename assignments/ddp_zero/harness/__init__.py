"""What a rank runs around your code: models to train, and the loop that trains them.

`Loop` calls your classes the way a training script does, with the weights and batches of this rank.
The models are in `modules.py` and `tiny_gpt.py`. Answers are not here: the grader knows elsewhere
what a step should give.

You may import from here; nothing here needs to be handed in. Shape letters: B rows, T tokens, V
vocabulary, C and W widths, K columns of a batch, L layers.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .modules import Chain, Sheet, Tower  # noqa: F401 - cases find these names here
from .tiny_gpt import (  # noqa: F401 - cases and your code find these names here
    OPERATIONS,
    Apply,
    Block,
    Embedding,
    Linear,
    Norm,
    TinyGPT,
    run,
    spread,
)

Tensor = torch.Tensor


def parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a model as a list."""
    return list(model.parameters())


def groups(model: nn.Module, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return parameter groups: `params` of each part names parameters by number."""
    params = list(model.parameters())
    return [{**part, "params": [params[number] for number in part["params"]]} for part in parts]


def group(model: nn.Module, part: dict[str, Any]) -> dict[str, Any]:
    """Return one parameter group; see `groups`."""
    return groups(model, [part])[0]


def iterator(model: nn.Module) -> Iterator[nn.Parameter]:
    """Return the parameters of a model as an iterator, which can be read once."""
    return iter(list(model.parameters()))


def group_iterator(model: nn.Module, parts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return parameter groups as an iterator; the `params` of each are an iterator as well."""
    return ({**one, "params": iter(one["params"])} for one in groups(model, parts))


def clones(tensors: list[Tensor]) -> list[Tensor]:
    """Return copies that your code may change in place."""
    return [tensor.clone() for tensor in tensors]


def given(value: Any) -> Any:  # noqa: ANN401 - whatever a case keeps on a rank
    """Return what is given."""
    return value


def read(tensors: list[Tensor]) -> list[Tensor]:
    """Return tensors as they are now."""
    return list(tensors)


def set_weights(model: nn.Module, weights: list[Tensor]) -> None:
    """Overwrite the parameters of a model."""
    with torch.no_grad():
        for param, weight in zip(model.parameters(), weights, strict=True):
            param.copy_(weight)


def give_frozen_gradients(model: nn.Module) -> None:
    """Give every frozen parameter a gradient of ones, which moves nothing."""
    for param in model.parameters():
        if not param.requires_grad:
            param.grad = torch.ones_like(param)


class State:
    """What a module holds, and by which tensors it held it when this was made."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._held = [*model.parameters(), *model.buffers()]
        self._views = [tensor.detach() for tensor in self._held]

    def parameters(self) -> list[Tensor]:
        """Return the parameters, one that has two names once."""
        return list(self._model.parameters())

    def buffers(self) -> list[Tensor]:
        """Return the buffers."""
        return list(self._model.buffers())

    def views(self) -> list[Tensor]:
        """Return what was held at first, seen through views made then."""
        return self._views

    def found(self) -> dict[str, Any]:
        """Return all of that, and which parameters are trained."""
        return {
            "parameters": self.parameters(),
            "buffers": self.buffers(),
            "views made before": self.views(),
            "requires_grad": [param.requires_grad for param in self._model.parameters()],
        }

    def step(self) -> None:
        """Step what was held at first by 1, as an optimizer does that was made before.

        Only what the module still trains has a gradient.
        """
        for param in self._model.parameters():
            param.grad = torch.ones_like(param) if param.requires_grad else None
        for tensor in self._held:
            if tensor.grad is not None:
                tensor.data.sub_(tensor.grad)


class Loop:
    """One rank's training loop.

    Args:
        model: what is trained.
        engine: your `DDP` or `FSDP` around it; the model itself is called if None.
        optimizer: your `ZeroOptimizer`; if None, `adamw` or `sgd` decides.
        adamw: options of a `torch.optim.AdamW` over the engine's shards, if it has some, else over
            the model's parameters.
        sgd: the same for `torch.optim.SGD`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        engine: Any = None,  # noqa: ANN401 - a class of yours
        optimizer: Any = None,  # noqa: ANN401 - a class of yours
        adamw: dict[str, Any] | None = None,
        sgd: dict[str, Any] | None = None,
    ) -> None:
        self._model, self._engine, self._optimizer = model, engine, optimizer
        params = engine.shards() if hasattr(engine, "shards") else list(model.parameters())
        if adamw is not None:
            self._optimizer = torch.optim.AdamW(params, **adamw)
        if sgd is not None:
            self._optimizer = torch.optim.SGD(params, **sgd)

    def backward(self, *batch: Tensor, sync: bool = True, **options: list[int]) -> Tensor:
        """Run forward and backward over this rank's rows and return their mean loss.

        Afterwards `finish_backward` of the engine or of your optimizer is called, but not with
        `sync=False`: then all runs inside the engine's `no_sync()`, and so does, before it, a pass
        that an exception ends before it has begun.
        """
        call = self._model if self._engine is None else self._engine
        with contextlib.nullcontext() if sync else call.no_sync():
            if not sync:
                self.interrupt()
            loss = self._loss(call, batch, options)
            loss.backward()
        for part in (self._engine, self._optimizer):
            if sync and hasattr(part, "finish_backward"):
                part.finish_backward()
        return loss.detach().float()

    def interrupt(self) -> None:
        """Leave the engine's `no_sync()` by an exception."""
        with contextlib.suppress(InterruptedError), self._engine.no_sync():
            raise InterruptedError

    def evaluate(self, *batch: Tensor, **options: list[int]) -> Tensor:
        """Return the mean loss of this rank's rows, in evaluation mode and without gradients."""
        call = self._model if self._engine is None else self._engine
        call.eval()
        with torch.no_grad():
            loss = self._loss(call, batch, options)
        call.train()
        return loss.float()

    def update(self) -> None:
        """Step the optimizer, then forget the gradients."""
        self._optimizer.step()
        self._optimizer.zero_grad()

    def forget(self, *, to_zeros: bool = False) -> None:
        """Clear all gradients without a step; with `to_zeros` those of the model become zeros."""
        if to_zeros:
            self._model.zero_grad(set_to_none=False)
        elif self._optimizer is None:
            self._model.zero_grad()
        else:
            self._optimizer.zero_grad()

    def train(self, batches: list[tuple[Tensor, ...]]) -> None:
        """Take one step per batch."""
        for batch in batches:
            self.backward(*batch)
            self.update()

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of the first group, as a schedule does."""
        self._optimizer.param_groups[0]["lr"] = lr

    def gradients(self) -> list[Tensor | None]:
        """Return the gradients of the model's parameters."""
        return [param.grad for param in self._model.parameters()]

    def which_gradients(self) -> list[bool]:
        """Return which of the model's parameters have a gradient."""
        return [param.grad is not None for param in self._model.parameters()]

    def has_gradients(self) -> bool:
        """Return whether any shard of the engine has a gradient."""
        return any(shard.grad is not None for shard in self._engine.shards())

    def weights(self) -> list[Tensor]:
        """Return the model's parameters."""
        return list(self._model.parameters())

    def sampled(self, rows: list[int]) -> list[Tensor]:
        """Return some rows of each matrix of a `Tower`; which, is said only now."""
        return [layer.weight[rows] for layer in self._model.layers]

    def sampled_gradients(self, rows: list[int]) -> list[Tensor]:
        """Return the gradients of some rows of each matrix of a `Tower`."""
        return [layer.weight.grad[rows] for layer in self._model.layers]

    def sampled_state(self, rows: list[int]) -> list[Tensor]:
        """Return some rows of each matrix of a `Tower`, gathered by your `FSDP`."""
        return [whole[rows] for whole in self._engine.full_state().values()]

    def has_same_shards(self) -> bool:
        """Return whether `shards` of your `FSDP` returns the same tensors in every call."""
        pairs = zip(self._engine.shards(), self._engine.shards(), strict=True)
        return all(first is second for first, second in pairs)

    def keep(self) -> None:
        """Keep what `full_state` of your `FSDP` returns, on this rank."""
        self._kept = self._engine.full_state()

    def kept(self) -> dict[str, Tensor]:
        """Return what was kept, as it is now."""
        return self._kept

    def whole(self) -> list[tuple[str, Tensor]]:
        """Return names and tensors of your `FSDP`'s `full_state`, in its order."""
        return list(self._engine.full_state().items())

    def _loss(
        self, call: nn.Module, batch: tuple[Tensor, ...], options: dict[str, list[int]]
    ) -> Tensor:
        if len(batch) == 1:
            return call(batch[0], **options).mean()
        logits_BTV = call(batch[0], **options)
        return F.cross_entropy(logits_BTV.flatten(0, 1), batch[1].flatten())
