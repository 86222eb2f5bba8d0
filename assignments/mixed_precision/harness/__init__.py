"""What the problems are given: parameters, an optimizer, modules, a small GPT.

`Parameters` and `Momentum` are there to unscale, clip and step, `Operation`, `Chain` and `TinyGPT`
(in `tiny_gpt.py`) to run under a policy, `Rows` to accumulate over. Precision, scaling and rounding
are not here: they are yours.

Shape letters: B rows, T tokens, C width, V vocabulary, H heads, F width of the feed-forward part,
N entries.
"""

from collections.abc import Sequence

import torch

from .models import (  # noqa: F401 - cases and your code find these names here
    OverflowingGPT,
    Parts,
    RecordedGPT,
    Rows,
    SteepGPT,
)
from .operations import Chain, Operation  # noqa: F401 - as above
from .optimizers import Leaf, Momentum, Saved, holds, unscale_one_by_one  # noqa: F401 - as above
from .parameters import Once, Parameters, Some, WideParameters  # noqa: F401 - as above
from .tiny_gpt import (  # noqa: F401 - as above
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


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a model's parameters by name, as they are."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def dtypes_of(model: torch.nn.Module) -> list[str]:
    """Return the dtypes of a model's parameters, in order, a tied one once."""
    return [str(p.dtype) for p in model.parameters()]


def frozen_in(model: torch.nn.Module) -> list[str]:
    """Return the names of the parameters that want no gradient."""
    return [name for name, p in model.named_parameters() if not p.requires_grad]


def numbers_of(model: torch.nn.Module, names: Sequence[str]) -> list[torch.Tensor]:
    """Return the numbers of some parameters."""
    return [model.get_parameter(name).detach().clone() for name in names]


def gradients_of(model: torch.nn.Module) -> list[torch.Tensor | None]:
    """Return a model's gradients, in the order of its parameters."""
    return [None if p.grad is None else p.grad.clone() for p in model.parameters()]


@torch.no_grad()
def set_gradients_of(model: torch.nn.Module, value: float) -> None:
    """Fill the gradient of every parameter that wants one, as a loop that forgot to clear them."""
    for p in model.parameters():
        if p.requires_grad:
            p.grad = torch.full_like(p, value)


@torch.no_grad()
def set_all_gradients_of(model: torch.nn.Module, value: float) -> None:
    """Fill the gradient of every parameter, frozen ones too: they were frozen later."""
    for p in model.parameters():
        p.grad = torch.full_like(p, value)


@torch.no_grad()
def change(model: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    """Write new numbers into a parameter, as an optimizer's step does."""
    model.get_parameter(name).copy_(value)


def bits_of(x: torch.Tensor) -> torch.Tensor:
    """Return the bits of 16-bit numbers as int16."""
    return x.contiguous().view(torch.int16)
