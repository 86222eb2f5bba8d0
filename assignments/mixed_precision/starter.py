# %% [markdown]
# # Mixed precision
#
# Eight problems, graded one by one; a problem you leave alone costs only its own points (`train`
# puts the others together). Read `README.md` first: it has the theory, the arithmetic and how each
# problem is graded.
#
# Work in the cells tagged `export`: they are what is graded. Everything a check relies on is fixed
# in the docstrings. Imports: `torch`, `math`, `typing` and `harness` are enough.
#
# Shape letters: **B** rows of a micro-batch, **T** tokens, **C** width, **N** entries, steps or
# micro-batches. A tensor's name ends with its shape: `tokens_BT`.
#
# Words: a *low* dtype is `torch.bfloat16` or `torch.float16`. A *tied* parameter is one object that
# stands in a list twice. A gradient *overflows* where an entry of it is inf or NaN.
#
# Rules that hold everywhere: tensors you are given stay as they are, unless a docstring says that
# you change them; what you return or store shares no memory with them; inputs may have any strides
# (a dimension of one entry has the stride of a contiguous tensor); and a call that raises leaves
# everything as it was.

# %% tags=["export"]
"""Mixed precision: eight problems around training in 16 bits."""

# One file by design: it is what you hand in.

from collections.abc import Iterable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
Parameter = torch.nn.Parameter

# %% [markdown]
# ## 1 · `cast_policy` and `autocast_forward`
# `harness` has the operations (`OPERATIONS`) and `run(op, *args, **keywords)`, which carries one
# out on its arguments as they are. Every model that you are given has it as `model.run`.


# %% tags=["export"]
def cast_policy(op: str) -> str:
    """Return in which precision an operation runs: "low", "float32" or "widest".

    - "low": `linear`, `matmul`, `conv1d`, `conv2d`.
    - "widest": `add`, `sub`, `mul`, `div`, `maximum`, and what only moves numbers or treats each
      alone: `gelu`, `relu`, `embedding`, `transpose`, `reshape`.
    - "float32": `layer_norm`, `softmax`, `log_softmax`, `cross_entropy`, `mse_loss`, `sum`, `mean`,
      and every name that is not listed here, known to `run` or not.
    """
    raise NotImplementedError


def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:  # noqa: ANN401 - any callable of this form
    """Return `model(*inputs, apply=...)`, every operation of which runs under the policy.

    A model calls `apply(op, *args, **keywords)` for every operation. Cast the floating-point
    tensors among its arguments, keywords included, and return `model.run(op, ...)` of them:
    - "low": all of them to `low`.
    - "float32": those of a half dtype (bfloat16, float16) to float32.
    - "widest": all of them to the widest dtype among them: float32 if there is one, or if bfloat16
      meets float16; else the half dtype that they share. A tensor without dimensions counts as any
      other, numbers that are no tensors do not.

    If one of them is float64, nothing is cast. Integer tensors are never cast, and the result is
    never cast. A tensor that has its dtype already is not copied. Casts are part of the graph:
    gradients arrive at the tensors that the model passed, in their dtypes. Parameters may change
    between two calls, and the next call sees it. Tensors within lists are not graded.

    Args:
        model: called once; a module of `harness` or anything else of this form, with `run`.
        inputs: passed on as they are.
        low: bfloat16 or float16.

    Raises:
        ValueError: if `low` is neither; the model is not called then.
    """
    raise NotImplementedError


# %% [markdown]
# ## 2 · `MasterAdamW`


# %% tags=["export"]
class MasterAdamW:
    """AdamW over parameters in low precision, with float32 weights and moments of its own.

    Step t of a parameter with gradient g, all in float32, w being its master weight::

        w ← w · (1 - lr · weight_decay)
        m ← beta1 · m + (1 - beta1) · g
        v ← beta2 · v + (1 - beta2) · g²
        w ← w - lr · (m / (1 - beta1ᵗ)) / (√(v / (1 - beta2ᵗ)) + eps)
        parameter ← w, rounded to nearest

    t counts the steps of this parameter, from 1; m and v begin at 0. A parameter without a gradient
    is left alone in every respect, decay and t included, frozen or not. A tied parameter is one
    parameter. A float32 parameter is its own master: who changes it has changed w. Memory per
    parameter in low precision, everything included: 2 bytes each for it and its gradient, 4 each
    for w, m, v; beside that, no more than a few tensors of the size of a single parameter at a
    time.

    Attributes:
        params: the parameters as given, a list.

    Args:
        params: float32, bfloat16 or float16, with any strides; masters start from their numbers.
        lr: learning rate, at least 0.
        betas: each in [0, 1).
        eps: at least 0; with 0, gradients that are 0 are not graded.
        weight_decay: at least 0.

    Raises:
        ValueError: if a number is out of its range, there is no parameter, or one of another dtype.
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        raise NotImplementedError

    def step(self) -> None:
        """Take a step; parameters change in place, gradients stay as they are."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to None."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, list[Any]]:
        """Return copies of the state, in the order of the parameters, tied ones once.

        Returns:
            `steps`: t of each, ints; `master`, `m`, `v`: float32 tensors of the parameters' shapes.
        """
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        """Continue from a state that `state_dict` gave; parameters become their masters, rounded.

        Raises:
            ValueError: unless the keys are those four, and each list has an entry per parameter:
                ints of at least 0, float32 tensors of the parameters' shapes.
        """
        raise NotImplementedError


# %% [markdown]
# ## 3 · `GradScaler`
# An optimizer here is anything with a list `params` (a tied parameter may stand in it twice) and a
# `step()`, as `Momentum` in `harness` and your `MasterAdamW`.


# %% tags=["export"]
class GradScaler:
    """Scale for the loss that grows while nothing overflows and shrinks when something does.

    A *round* goes from one `update` to the next: gradients of a scaled loss, then for every
    optimizer perhaps `unscale_`, then `step`.

    Args:
        init_scale: in [1, 2**24].
        growth_factor: more than 1.
        backoff_factor: in (0, 1).
        growth_interval: rounds without overflow after which the scale grows; at least 1.

    Raises:
        ValueError: if a number is out of its range.
    """

    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        raise NotImplementedError

    def get_scale(self) -> float:
        """Return the scale."""
        raise NotImplementedError

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss times the scale, float32, part of the graph; the product is float32's."""
        raise NotImplementedError

    def unscale_(self, optimizer: Any) -> None:  # noqa: ANN401 - any optimizer of the form above
        """Divide the optimizer's gradients by the scale, in place, once per parameter of the round.

        Division is in float32, rounded to the gradient's dtype. A parameter that several optimizers
        share, or that stands in one twice, is divided once. Whether an optimizer overflows is asked
        here, of its divided gradients: also of those that another optimizer divided before it.

        Raises:
            RuntimeError: if this optimizer was unscaled or stepped in this round already.
            ValueError: if one of its gradients is neither float32 nor bfloat16: float16 would lose
                what scaling saved. No gradient is divided then.
        """
        raise NotImplementedError

    def step(self, optimizer: Any) -> bool:  # noqa: ANN401 - as above
        """Unscale unless that was done in this round; call `optimizer.step()` unless it overflows.

        Returns:
            whether `optimizer.step()` was called.

        Raises:
            RuntimeError: if this optimizer was stepped in this round already.
            ValueError: as `unscale_`.
        """
        raise NotImplementedError

    def update(self) -> None:
        """End the round and adapt the scale.

        If any optimizer of the round overflowed: scale × `backoff_factor`, once, and not below 1;
        the count of good rounds starts again at 0. Else the round is a good one; the
        `growth_interval`-th in a row gives scale × `growth_factor`, not above 2**24, and the count
        starts again at 0, also where the scale cannot grow. A round in which no optimizer had a
        gradient is neither: scale and count stay.

        Raises:
            RuntimeError: if no optimizer was unscaled or stepped in this round.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, float | int]:
        """Return `scale`, a float, and `good_rounds`, an int."""
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        """Continue from a state that `state_dict` gave; a round that has begun is forgotten.

        Raises:
            ValueError: unless the keys are those two, the scale lies in [1, 2**24], and good_rounds
                is at least 0.
        """
        raise NotImplementedError


# %% [markdown]
# ## 4 · `clip_and_step`


# %% tags=["export"]
def clip_and_step(
    optimizer: Any,  # noqa: ANN401 - any optimizer of the form above
    scale: float,
    max_norm: float,
) -> tuple[Tensor, bool]:
    """Unscale, check, clip by the global norm, step, in this order.

    1. Gradients are divided by `scale` (in float32, rounded to their dtype), tied ones once.
    2. If one overflows now, nothing else happens: gradients stay divided, no step is taken.
    3. The norm is √(Σ g²) over all entries of all gradients, divided and rounded, tied ones once,
       to float32's precision (squares of finite gradients may leave float32's range, the norm does
       not).
    4. If the norm exceeds `max_norm`, gradients are multiplied by max_norm / norm, a number that
       may be smaller than any float32, and rounded to their dtype once: 1e38 becomes 1e-10 if
       `max_norm` says so.
    5. `optimizer.step()`.

    Gradients change in place. Parameters without one are left out.

    Args:
        optimizer: has `params` and `step()`.
        scale: of the loss that the gradients belong to; positive and finite.
        max_norm: at least 0; inf for no clipping.

    Returns:
        The norm before clipping, a float32 scalar, inf if a gradient overflows; and whether the
        optimizer took its step.

    Raises:
        ValueError: if `scale` or `max_norm` is out of its range, or a gradient is neither float32
            nor bfloat16.
    """
    raise NotImplementedError


# %% [markdown]
# ## 5 · `accumulate`


# %% tags=["export"]
def accumulate(
    model: Any,  # noqa: ANN401 - any module with a loss of this form
    micro_batches: Sequence[tuple[Tensor, Tensor]],
    *,
    scale: float = 1.0,
) -> tuple[Tensor, list[Tensor | None]]:
    """Return loss and gradients of a large batch that is given in pieces.

    `model.loss(inputs, targets)` is the mean over the targets of one piece that are not -100, and
    NaN if all of them are. Wanted is the mean over all targets of all pieces that are not -100;
    pieces may differ in size. Only one piece's graph may live at a time: what it keeps for its
    backward pass is gone before the next loss is asked for. Each is asked for at most once.

    The loss is multiplied by `scale` before it is differentiated. A piece's gradient arrives in the
    dtype of its parameter; sums over pieces are kept in float32, and are divided by `scale` there.
    Whether a piece's share of the mean is multiplied before or after that is not graded.

    Args:
        model: a module; its parameters stay as they are.
        micro_batches: (inputs, targets) of each piece, at least one; targets are int64.
        scale: positive and finite.

    Returns:
        The loss, a float32 scalar, unscaled; and for each entry of `model.parameters()`, in that
        order, its gradient in float32, unscaled, or None if it had none in any piece. The `grad` of
        every parameter is None afterwards, whatever it was before, and was no part of the sum.

    Raises:
        ValueError: if there is no piece, no target that is not -100, inputs and targets of a piece
            differ in their number of rows, or `scale` is out of its range.
    """
    raise NotImplementedError


# %% [markdown]
# ## 6 · `stochastic_round`


# %% tags=["export"]
def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    """Round float32 to bfloat16, up or down by chance, so that the mean is right.

    A float32 has 16 bits more than a bfloat16. Let `low` be the number that these bits make, from
    0 to 65535. The result is the neighbour of larger magnitude if noise + low >= 65536, and the
    neighbour of smaller magnitude (the bits cut off) otherwise. So if noise is uniform, it is the
    larger one with probability low / 65536, and a number that bfloat16 holds never changes. This
    goes for subnormal numbers too; beyond the largest finite bfloat16 the larger neighbour is inf.
    inf stays inf, NaN stays NaN (of any sign), zeros keep their sign.

    Args:
        x: float32, any shape.
        noise: int32 of the same shape, each in 0 … 65535.

    Returns:
        bfloat16, the shape of x.

    Raises:
        ValueError: if a dtype, the shape or a number of `noise` is not as said.
    """
    raise NotImplementedError


# %% [markdown]
# ## 7 · `train`
# Everything together, on the GPT of `harness`.


# %% tags=["export"]
def train(
    model: Any,  # noqa: ANN401 - a module of `harness`
    batches: Sequence[Sequence[tuple[Tensor, Tensor]]],
    *,
    low: torch.dtype = torch.bfloat16,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    max_norm: float = 1.0,
    init_scale: float = 65536.0,
) -> Tensor:
    """Train a model in low precision; return the loss of every step.

    Every parameter of the model is converted to `low`, in place: it stays the same object, tied
    and frozen ones stay so. Each step takes one batch, in pieces: losses run under the policy of
    problem 1 (`model.loss(tokens, targets, apply=...)`), gradients accumulate as in problem 5 with
    the scale at hand, and AdamW as in problem 2 (betas 0.9 and 0.999, eps 1e-8), over the
    parameters that want a gradient, takes a step after clipping to `max_norm`. A step whose
    gradients overflow is skipped, and the scale is halved, not below 1; it does not grow. A
    parameter that never has a gradient keeps its (converted) numbers.

    Args:
        model: float32; changed in place.
        batches: for each step its pieces, (tokens_BT, targets_BT); each loss is asked for at
            most once.
        low: bfloat16 or float16.
        lr: learning rate.
        weight_decay: of AdamW.
        max_norm: of all gradients together; with 0 only decay moves weights.
        init_scale: of the loss, in [1, 2**24].

    Returns:
        float32 [N]: the loss of each of the N batches before its step, unscaled.

    Raises:
        ValueError: if `low` is neither dtype; the model is as it was. Other refusals are not
            graded.
    """
    raise NotImplementedError


# %% [markdown]
# ## 8 · `found_inf_everywhere`
# Several processes train one model, each on its own data. `torch.distributed` is ready when your
# code is imported: `torch.distributed.all_reduce` and the like reach all ranks.


# %% tags=["export"]
def found_inf_everywhere(optimizer: Any) -> bool:  # noqa: ANN401 - any optimizer of the form above
    """Step on every rank, or on none: return whether a gradient of any rank overflows.

    Every rank calls this, with its own unscaled gradients (they may differ between ranks). If one
    of them overflows on any rank, nobody takes a step and all return True. Else every rank calls
    `optimizer.step()` and returns False. A rank whose parameters have no gradients takes part like
    every other; so do one rank alone, and ranks with different numbers of parameters. Gradients
    stay as they are. A few bytes are enough, but how many are sent is not graded.

    Args:
        optimizer: has `params` and `step()`; gradients are float32 or bfloat16.
    """
    raise NotImplementedError


# %% [markdown]
# ## Public cases
# Passing them does not mean that the hidden ones pass: those have other shapes, strides and values.

# %% tags=["scratch", "active-ipynb"]
# from grader.student import check
#
# check("autocast_forward", cast_policy=cast_policy, autocast_forward=autocast_forward)
# check("MasterAdamW", MasterAdamW)
# check("GradScaler", GradScaler)
# check("clip_and_step", clip_and_step)
# check("accumulate", accumulate)
# check("stochastic_round", stochastic_round)
# check("train", train)
# check("found_inf_everywhere", found_inf_everywhere)
