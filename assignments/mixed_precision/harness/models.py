"""Models with a loss, to accumulate over and to train; some of them watch who calls them.

Shape letters: B rows, T tokens, C width.
"""

import math
import weakref
from collections.abc import Sequence
from typing import Any

import torch

from .parameters import copy_of
from .tiny_gpt import Apply, TinyGPT, run


class Rows(torch.nn.Module):
    """The smallest model with a loss: the mean over rows of factor · (x · w), per kept target.

    Its gradient with respect to w is factor times the mean of the kept rows, in the dtype of w.

    Args:
        weight: w [C], in the dtype that gradients will have.
        factor: of the loss.
    """

    def __init__(self, weight: torch.Tensor, factor: float = 1.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight.clone())
        self.frozen = torch.nn.Parameter(torch.ones(3, dtype=weight.dtype), requires_grad=False)
        self.unused = torch.nn.Parameter(torch.ones(2, dtype=weight.dtype))
        self._factor = factor

    def loss(self, inputs_BC: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
        """Return the mean over rows whose target is not -100, float32; NaN if there is none."""
        kept_BC = inputs_BC[targets_B != -100].to(self.weight.dtype)
        return (kept_BC * self.weight).float().sum(dim=-1).mean() * self._factor


class Token:
    """A tensor that a graph keeps for its backward pass; gone when the graph has let it go."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x


class Parts(torch.nn.Module):
    """A model with a loss whose parameters are not alike, and which watches over its graphs.

    The loss is the mean over kept targets of factor · (x · (one + other + late)). `one` and `other`
    have the same gradient: autograd may return a single tensor for both. `late` takes part only in
    pieces of at least two rows; `frozen` wants no gradient.

    Args:
        values: of one, other, late, each [C], and frozen, of any shape.
        factor: of the loss.
        loss_dtype: in which the loss is returned.
    """

    def __init__(
        self,
        values: Sequence[torch.Tensor],
        factor: float = 1.0,
        loss_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        one, other, late, frozen = values
        self.frozen = torch.nn.Parameter(copy_of(frozen), requires_grad=False)
        self.one = torch.nn.Parameter(copy_of(one))
        self.late = torch.nn.Parameter(copy_of(late))
        self.other = torch.nn.Parameter(copy_of(other))
        self._factor, self._loss_dtype = factor, loss_dtype
        self._tokens: weakref.WeakSet[Token] = weakref.WeakSet()
        self._calls = self._most_alive = 0

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of inputs [B, ..., C] and targets [B, ...]; NaN if none is kept."""
        self._calls += 1
        self._most_alive = max(self._most_alive, bool(self._tokens) + 1)
        with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda token: token.x):
            kept = inputs[targets != -100].to(self.one.dtype)
            weight = self.one + self.other
            if len(inputs) > 1:
                weight = weight + self.late
            loss = (kept * weight).float().sum(dim=-1).mean() * self._factor
            return loss.to(self._loss_dtype)

    def _pack(self, x: torch.Tensor) -> Token:
        token = Token(x)
        self._tokens.add(token)
        return token

    def calls_at_most(self, count: int) -> bool:
        """Return whether `loss` was called no more than so often."""
        return self._calls <= count

    def most_alive(self) -> int:
        """Return 2 if a graph still kept its tensors when the next piece came, else 1."""
        return self._most_alive


class RecordedGPT(TinyGPT):
    """A `TinyGPT` that notes what its operations gave, and how often its loss was asked for."""

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self._seen: list[list[str]] = []
        self._born = list(self.named_parameters())
        self._weight = self.embed.weight.detach().clone()

    def loss(
        self,
        tokens_BT: torch.Tensor,
        targets_BT: torch.Tensor,
        *,
        use_branch: bool = False,
        apply: Apply = run,
    ) -> torch.Tensor:
        """Return the loss of `TinyGPT`."""
        seen: list[str] = []
        self._seen.append(seen)

        def recorded(op: str, *args: Any, **keywords: Any) -> torch.Tensor:  # noqa: ANN401 - as the operation
            result = apply(op, *args, **keywords)
            seen.append(f"{op}: {result.dtype}")
            return result

        return super().loss(tokens_BT, targets_BT, use_branch=use_branch, apply=recorded)

    def has_its_parameters(self) -> bool:
        """Return whether its parameters are the objects that it was born with, and still tied."""
        now = dict(self.named_parameters())
        same = all(now.get(name) is p for name, p in self._born)
        return same and self.unembed.weight is self.embed.weight

    def seen(self) -> list[list[str]]:
        """Return the dtype of each operation's result in a call of `loss`, for each kind of call.

        Calls whose results have the same dtypes are of one kind.
        """
        return [list(kind) for kind in dict.fromkeys(map(tuple, self._seen))]

    def calls_at_most(self, count: int) -> bool:
        """Return whether `loss` was called no more than so often."""
        return len(self._seen) <= count

    def has_moved(self) -> bool:
        """Return whether the embedding has other numbers than it was born with, rounded."""
        weight = self.embed.weight.detach()
        return not torch.equal(weight, self._weight.to(weight.dtype))


class OverflowingGPT(TinyGPT):
    """A `TinyGPT` whose gradients overflow now and then, and which notes by what it was scaled.

    Args:
        overflows: numbers of the backward passes in which they do, from 0.
        sizes: of `TinyGPT`.
    """

    def __init__(self, overflows: Sequence[int], **sizes: int) -> None:
        super().__init__(**sizes)
        self._overflows, self._scales = set(overflows), list[float]()

    def loss(self, *inputs: torch.Tensor, **keywords: Any) -> torch.Tensor:  # noqa: ANN401 - as `TinyGPT`
        """Return the loss of `TinyGPT` in float32."""
        result = super().loss(*inputs, **keywords).float()
        if result.requires_grad:
            result.register_hook(self._arrive)
        return result

    def _arrive(self, gradient: torch.Tensor) -> torch.Tensor:
        overflows = len(self._scales) in self._overflows
        self._scales.append(float(gradient))
        return gradient * math.inf if overflows else gradient

    def scales(self) -> list[float]:
        """Return the gradients with respect to the losses, as they arrived."""
        return list(self._scales)


class SteepGPT(TinyGPT):
    """A `TinyGPT` with a number more, whose gradient is 32768; the others are small beside it.

    Clipped together with it, they are as small as AdamW's eps.
    """

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self.steep = torch.nn.Parameter(torch.zeros(1))

    def loss(self, *inputs: torch.Tensor, **keywords: Any) -> torch.Tensor:  # noqa: ANN401 - as `TinyGPT`
        """Return the loss of `TinyGPT`, divided by 128, and 32768 times the number."""
        return super().loss(*inputs, **keywords) / 128 + 32768 * self.steep.float().sum()
