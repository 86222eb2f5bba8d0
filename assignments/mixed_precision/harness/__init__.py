"""What the problems are given: parameters, an optimizer, modules, a small GPT.

`Parameters` and `Momentum` are there to unscale, clip and step, `Operation`, `Chain` and `TinyGPT`
(in `tiny_gpt.py`) to run under a policy, `Rows` to accumulate over. Precision, scaling and rounding
are not here: they are yours.

Shape letters: B rows, T tokens, C width, V vocabulary, H heads, F width of the feed-forward part,
N entries.
"""

import math
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import torch

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


class Parameters(list[torch.nn.Parameter]):
    """A list of parameters, as `model.parameters()` gives them.

    Args:
        values: their numbers, copied.
        order: places in `values`, in the order of the list; a place that stands twice is one
            parameter that the list holds twice, as tied weights are.
        frozen: places in `values` of parameters that want no gradient.
    """

    def __init__(
        self,
        values: Sequence[torch.Tensor],
        order: Sequence[int] | None = None,
        frozen: Sequence[int] = (),
    ) -> None:
        made = [
            torch.nn.Parameter(_copy(value), requires_grad=place not in frozen)
            for place, value in enumerate(values)
        ]
        super().__init__(made[i] for i in (range(len(made)) if order is None else order))

    def set_gradients(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Give every parameter of the list a copy of its gradient, or none."""
        for parameter, gradient in zip(self, gradients, strict=True):
            parameter.grad = None if gradient is None else _copy(gradient)
        self._given = [parameter.grad for parameter in self]

    def has_given_gradients(self) -> bool:
        """Return whether the gradients are the tensors that were given last, whatever they hold."""
        return all(p.grad is given for p, given in zip(self, self._given, strict=True))

    @torch.no_grad()
    def shift(self, by: float) -> None:
        """Add a number to every float32 parameter, once, in place."""
        for parameter in dict.fromkeys(self):
            if parameter.dtype is torch.float32:
                parameter.add_(by)

    def gradients(self) -> list[torch.Tensor | None]:
        """Return the gradients, in the order of the list."""
        return [None if p.grad is None else p.grad.clone() for p in self]

    def values(self) -> list[torch.Tensor]:
        """Return the numbers, in the order of the list."""
        return [p.detach().clone() for p in self]


class Some(list[torch.nn.Parameter]):
    """Some of the parameters of a list, the same objects: those of one of several optimizers.

    Args:
        params: the list.
        places: in it.
    """

    def __init__(self, params: Sequence[torch.nn.Parameter], places: Sequence[int]) -> None:
        super().__init__(params[place] for place in places)


def _copy(x: torch.Tensor) -> torch.Tensor:
    """Return a copy with the same strides."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device).copy_(x)


class WideParameters(Parameters):
    """Many parameters in low precision, made in place: 2 bytes a number, and no more.

    Args:
        count: how many parameters.
        numel: numbers in each.
        dtype: of the numbers and of their gradients.
        like: a tensor on the device where they live.
    """

    def __init__(self, count: int, numel: int, dtype: torch.dtype, like: torch.Tensor) -> None:
        super().__init__([])
        ramp = torch.arange(4096, device=like.device)
        self._pattern = (((ramp * 2654435761) >> 7) % 4096).float() / 2048 - 1
        for number in range(count):
            parameter = torch.empty(numel, dtype=dtype, device=like.device)
            parameter.view(-1, 4096).copy_(self._pattern.roll(number))
            self.append(torch.nn.Parameter(parameter))

    def fill_gradients(self, step: int) -> None:
        """Write the gradients of a step: the pattern, shifted by place and step."""
        for number, parameter in enumerate(self):
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            shifted = self._pattern.roll(97 * step + 5 * number + 1) / (1 + step)
            parameter.grad.view(-1, 4096).copy_(shifted)

    def at(self, number: int, places: torch.Tensor) -> torch.Tensor:
        """Return the numbers of one parameter at some places, int64 [N]."""
        return self[number].detach()[places]


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


class Leaf:
    """A loss that is the leaf of a graph."""

    def __init__(self, value: torch.Tensor) -> None:
        self._leaf = value.clone().requires_grad_()

    def gradient_of_scaled(self, scaler: Any) -> torch.Tensor:  # noqa: ANN401 - yours
        """Return the gradient of `scaler.scale(loss)` with respect to the loss."""
        (found,) = torch.autograd.grad(scaler.scale(self._leaf), [self._leaf])
        return found


class Once:
    """Parameters that can be iterated over a single time, as `model.parameters()` can."""

    def __init__(self, params: Sequence[torch.nn.Parameter]) -> None:
        self._iterator = iter(params)

    def __iter__(self) -> Iterator[torch.nn.Parameter]:
        """Return the iterator, which may be used up."""
        return self._iterator


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


class Operation:
    """A module of one operation, which remembers its output and can say its gradients.

    Args:
        op: name in `OPERATIONS`.
        names: keyword of each input, "" for those that are given by place.
        keywords: further keywords, such as `dim=-1`.
    """

    run = staticmethod(run)

    def __init__(self, op: str, names: Sequence[str] = (), **keywords: Any) -> None:  # noqa: ANN401 - as the operation
        self._op, self._names, self._keywords = op, tuple(names), keywords
        self._inputs: list[Any] = []
        self._output = torch.empty(0)
        self._calls, self._graph_stays = 0, False

    def __call__(self, *inputs: Any, apply: Apply = run) -> torch.Tensor:  # noqa: ANN401 - as the operation
        """Return the operation's result for the inputs, run by `apply`."""
        self._calls += 1
        self._inputs = [
            x.detach().requires_grad_() if _is_float(x) else x  # a view: what it is given stays
            for x in inputs
        ]
        names = self._names or ("",) * len(inputs)
        pairs = list(zip(names, self._inputs, strict=True))
        by_name = {name: x for name, x in pairs if name}
        by_place = [x for name, x in pairs if not name]
        self._output = apply(self._op, *by_place, **by_name, **self._keywords)
        return self._output

    def gradients(self, upstream: torch.Tensor) -> list[torch.Tensor | None]:
        """Return the gradient of the last output, times `upstream`, for every float input."""
        leaves = [x for x in self._inputs if _is_float(x)]
        upstream = upstream.to(self._output.dtype)
        keep = self._graph_stays
        return list(
            torch.autograd.grad(
                self._output, leaves, upstream, allow_unused=True, retain_graph=keep
            )
        )

    def gradient_dtypes(self, upstream: torch.Tensor) -> list[str]:
        """Return the dtypes of these gradients, which may be asked for once more then."""
        self._graph_stays = True
        found = self.gradients(upstream)
        self._graph_stays = False
        return [str(getattr(x, "dtype", x)) for x in found]

    def rough_gradients(self, upstream: torch.Tensor) -> list[torch.Tensor | None]:
        """Return these gradients in bfloat16, whose places are all that casts have left of some."""
        return [x if x is None else x.to(torch.bfloat16) for x in self.gradients(upstream)]

    def calls(self) -> int:
        """Return how often it was called."""
        return self._calls

    def arrived(self) -> list[str]:
        """Return the dtypes of the tensors that it was called with last, in order."""
        return [str(x.dtype) for x in self._inputs if isinstance(x, torch.Tensor)]

    def output_is_view(self) -> bool:
        """Return whether the last output has the memory of the first input: nothing was copied."""
        pointers = [x.untyped_storage().data_ptr() for x in (self._output, self._inputs[0])]
        return pointers[0] == pointers[1]


def _is_float(x: Any) -> bool:  # noqa: ANN401 - any input
    return isinstance(x, torch.Tensor) and x.is_floating_point()


class Chain(torch.nn.Module):
    """Residual blocks of norm, linear, GELU, linear: activations outweigh everything else.

    Args:
        like: a tensor on the device where it lives.
        n_blocks: blocks.
        width: C.
        hidden: F.
    """

    run = staticmethod(run)

    def __init__(self, like: torch.Tensor, *, n_blocks: int, width: int, hidden: int) -> None:
        super().__init__()
        modules, numbers = torch.nn.ModuleList, range(n_blocks)
        with torch.device(like.device):
            self.norms = modules(Norm(width) for _ in numbers)
            self.ups = modules(Linear(i, "up", width, hidden) for i in numbers)
            self.downs = modules(Linear(i, "down", hidden, width) for i in numbers)
        self._output = torch.empty(0)

    def forward(self, x_TC: torch.Tensor, *, apply: Apply = run) -> torch.Tensor:
        """Return [T, C] of [T, C]; rows do not depend on each other."""
        x = x_TC
        for norm, up, down in zip(self.norms, self.ups, self.downs, strict=True):
            hidden = apply("gelu", up(norm(x, apply=apply), apply=apply))
            x = apply("add", x, down(hidden, apply=apply))
        self._output = x
        return x

    def gradient(self, name: str, upstream_NC: torch.Tensor, rows_N: torch.Tensor) -> torch.Tensor:
        """Return the gradient of one parameter, for an upstream that is zero but for some rows."""
        upstream = torch.zeros_like(self._output)
        upstream[rows_N] = upstream_NC.to(upstream.dtype)
        (found,) = torch.autograd.grad(self._output, [self.get_parameter(name)], upstream)
        return found


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
        self.frozen = torch.nn.Parameter(_copy(frozen), requires_grad=False)
        self.one = torch.nn.Parameter(_copy(one))
        self.late = torch.nn.Parameter(_copy(late))
        self.other = torch.nn.Parameter(_copy(other))
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


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a model's parameters by name, as they are."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def holds(optimizer: Any, params: Sequence[torch.nn.Parameter]) -> bool:  # noqa: ANN401 - yours
    """Return whether `optimizer.params` is a list of these parameters, in this order."""
    mine = optimizer.params
    same = len(mine) == len(params) and all(a is b for a, b in zip(mine, params, strict=True))
    return isinstance(mine, list) and same


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
