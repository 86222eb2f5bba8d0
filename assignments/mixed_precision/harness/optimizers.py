"""What steps, and what surrounds a step: an optimizer, saved states, a loss to scale."""

import math
from collections.abc import Sequence
from typing import Any

import torch


class Momentum:
    """Gradient descent with momentum: b ← momentum · b + g, p ← p − lr · b, in float32.

    Attributes:
        params: the parameters; a tied one as often as it was given; it is stepped once.

    Args:
        params: a list of parameters.
        lr: learning rate.
        momentum: what is kept of the buffer.
    """

    def __init__(
        self, params: Sequence[torch.nn.Parameter], *, lr: float = 0.5, momentum: float = 0.5
    ) -> None:
        self.params = list(params)
        self._lr, self._momentum = lr, momentum
        self._buffers: dict[torch.nn.Parameter, torch.Tensor] = {}
        self._steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Take a step with the gradients that are there."""
        self._steps += 1
        for p in dict.fromkeys(self.params):
            if p.grad is None:
                continue
            old = self._buffers.get(p, torch.zeros_like(p, dtype=torch.float32))
            self._buffers[p] = self._momentum * old + p.grad.float()
            p.copy_(p.float() - self._lr * self._buffers[p])

    def steps(self) -> int:
        """Return how often `step` was called."""
        return self._steps


class Saved:
    """The state of an optimizer, as `state_dict` gave it.

    Args:
        optimizer: whose state.
    """

    def __init__(self, optimizer: Any) -> None:  # noqa: ANN401 - yours
        self._state = optimizer.state_dict()

    def load_into(self, optimizer: Any) -> None:  # noqa: ANN401 - yours
        """Give the state to an optimizer."""
        optimizer.load_state_dict(self._state)

    def overwrite(self) -> None:
        """Fill all tensors of the state with NaN, as a caller may who needs it no more."""
        for name in ("master", "m", "v"):
            for x in self._state[name]:
                x.detach().fill_(math.nan)

    def state(self) -> dict[str, list[Any]]:
        """Return the state as it is now."""
        tensors = {name: [x.clone() for x in self._state[name]] for name in ("master", "m", "v")}
        return {"steps": list(self._state["steps"]), **tensors}


def holds(optimizer: Any, params: Sequence[torch.nn.Parameter]) -> bool:  # noqa: ANN401 - yours
    """Return whether `optimizer.params` is a list of these parameters, in this order."""
    mine = optimizer.params
    same = len(mine) == len(params) and all(a is b for a, b in zip(mine, params, strict=True))
    return isinstance(mine, list) and same


def unscale_one_by_one(scaler: Any, params: Sequence[torch.nn.Parameter]) -> None:  # noqa: ANN401 - yours
    """Unscale each parameter by an optimizer of its own, which is gone after the call."""
    for parameter in params:
        scaler.unscale_(Momentum([parameter]))


class Leaf:
    """A loss that is the leaf of a graph."""

    def __init__(self, value: torch.Tensor) -> None:
        self._leaf = value.clone().requires_grad_()

    def gradient_of_scaled(self, scaler: Any) -> torch.Tensor:  # noqa: ANN401 - yours
        """Return the gradient of `scaler.scale(loss)` with respect to the loss."""
        (found,) = torch.autograd.grad(scaler.scale(self._leaf), [self._leaf])
        return found
