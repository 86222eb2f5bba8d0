"""What the problems are given: parameters, an optimizer, modules, a small GPT.

Takes: numbers. Gives: `Parameters` and `Momentum` to unscale, clip and step, `Operation`, `Chain`
and `TinyGPT` to run under a policy, `Rows` to accumulate over. Does not cover: precision, scaling,
rounding: they are yours.

Shape letters: B rows, T tokens, C width, V vocabulary, H heads, F width of the feed-forward part,
N entries.
"""

# One file by design: it is what enters the box beside a submission.

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

# --- assignments/shared/tiny_gpt.py: begin (copied by assignments/shared/build.py) ---
OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "linear": F.linear,
    "matmul": torch.matmul,
    "conv1d": F.conv1d,
    "conv2d": F.conv2d,
    "layer_norm": F.layer_norm,
    "softmax": torch.softmax,
    "log_softmax": torch.log_softmax,
    "cross_entropy": F.cross_entropy,
    "mse_loss": F.mse_loss,
    "sum": torch.sum,
    "mean": torch.mean,
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "maximum": torch.maximum,
    "gelu": F.gelu,
    "relu": torch.relu,
    "embedding": F.embedding,
    "transpose": torch.transpose,
    "reshape": torch.reshape,
    "erf": torch.erf,
    "cumsum": torch.cumsum,
    "logsumexp": torch.logsumexp,
}
"""Every operation of a model here, by name; what runs one may cast its arguments first."""


def run(op: str, *args: object, **keywords: object) -> torch.Tensor:
    """Return the result of an operation, on arguments as they are.

    Raises:
        ValueError: if there is no such operation.
    """
    if op not in OPERATIONS:
        raise ValueError(f"no operation {op!r}: expected one of {', '.join(OPERATIONS)}")
    return OPERATIONS[op](*args, **keywords)


Apply = Callable[..., torch.Tensor]
"""What a model calls for every operation: `run`, or something that casts and then calls it."""


def spread(seed: int, name: str, shape: tuple[int, ...], scale: float) -> torch.Tensor:
    """Return float32 numbers in [-scale, scale) that depend on seed, name and place alone.

    They are made on torch's default device, in memory of 8 bytes a number.

    Whole numbers of 32 bits are mixed by multiplications and shifts, and 24 bits are kept, so that
    the result is the same, bit for bit, on every machine. Source: the finalizer of MurmurHash3.
    """
    count = 1
    for size in shape:
        count *= size
    start = seed * 0x9E3779B1
    for letter in name.encode():
        start = (start * 31 + letter) & 0xFFFFFFFF
    x = (torch.arange(count, dtype=torch.int64) * 0x9E3779B1 + start) & 0xFFFFFFFF
    for factor, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13), (1, 16)):
        x ^= x >> shift
        x = (x * factor) & 0xFFFFFFFF
    return (((x >> 8) - (1 << 23)).float() * (scale / (1 << 23))).reshape(shape)


class Embedding(torch.nn.Module):
    """A row of a matrix per token, with weights from `spread`."""

    def __init__(self, seed: int, name: str, count: int, width: int) -> None:
        super().__init__()
        scale = (3.0 / width) ** 0.5
        self.weight = torch.nn.Parameter(spread(seed, f"{name}.weight", (count, width), scale))

    def forward(self, tokens: torch.Tensor, *, apply: Apply = run) -> torch.Tensor:
        """Return [..., width] of int64 tokens."""
        return apply("embedding", tokens, self.weight)


class Linear(torch.nn.Module):
    """`x @ weight.T + bias`, with weights from `spread`, or with those of an embedding."""

    run = staticmethod(run)

    def __init__(
        self,
        seed: int,
        name: str,
        width_in: int,
        width_out: int,
        *,
        tied: torch.nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        if tied is not None:
            self.weight = tied
            self.register_parameter("bias", None)
            return
        scale = (3.0 / width_in) ** 0.5  # a standard deviation of 1 / sqrt(width_in)
        weight = spread(seed, f"{name}.weight", (width_out, width_in), scale)
        self.weight = torch.nn.Parameter(weight)
        self.bias = torch.nn.Parameter(torch.zeros(width_out))

    def forward(self, x: torch.Tensor, *, apply: Apply = run) -> torch.Tensor:
        """Return [..., width_out] of [..., width_in]."""
        return apply("linear", x, self.weight, self.bias)


class Norm(torch.nn.Module):
    """Layer normalisation over the last dimension, with weight and bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))
        self.bias = torch.nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor, *, apply: Apply = run) -> torch.Tensor:
        """Return the normalised x."""
        return apply("layer_norm", x, self.weight.shape, self.weight, self.bias)


class Block(torch.nn.Module):
    """Causal attention and a feed-forward part, each behind a norm and beside a residual."""

    def __init__(self, seed: int, name: str, *, n_heads: int, width: int, hidden: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm_attention = Norm(width)
        self.qkv = Linear(seed, f"{name}.qkv", width, 3 * width)
        self.out = Linear(seed, f"{name}.out", width, width)
        self.norm_mlp = Norm(width)
        self.up = Linear(seed, f"{name}.up", width, hidden)
        self.down = Linear(seed, f"{name}.down", hidden, width)

    def forward(self, x_BTC: torch.Tensor, *, apply: Apply = run) -> torch.Tensor:
        """Return the block's output [B, T, C]."""
        attended = self._attend(self.norm_attention(x_BTC, apply=apply), apply)
        x_BTC = apply("add", x_BTC, self.out(attended, apply=apply))
        hidden = apply("gelu", self.up(self.norm_mlp(x_BTC, apply=apply), apply=apply))
        return apply("add", x_BTC, self.down(hidden, apply=apply))

    def _attend(self, x_BTC: torch.Tensor, apply: Apply) -> torch.Tensor:
        rows, count, width = x_BTC.shape
        q, k, v = (
            apply("transpose", part.reshape(rows, count, self.n_heads, -1), 1, 2)
            for part in self.qkv(x_BTC, apply=apply).chunk(3, dim=-1)
        )
        scores = apply("matmul", q, apply("transpose", k, 2, 3))
        scores = apply("mul", scores, (self.n_heads / width) ** 0.5)
        later = torch.ones(count, count, dtype=torch.bool, device=x_BTC.device).triu(1)
        weights = apply("softmax", scores.masked_fill(later, float("-inf")), dim=-1)
        attended = apply("matmul", weights, v)
        return apply("reshape", apply("transpose", attended, 1, 2), (rows, count, width))


class TinyGPT(torch.nn.Module):
    """A decoder over bytes; nothing in it is random.

    The matrix of the embedding is that of the output as well (tied), `positions` is frozen, and
    `branch` takes part only when a call asks for it: else its gradients stay None.

    Args:
        seed: decides the weights; the buffer `calls` (int64, a scalar) holds it.
        vocab_size: V.
        max_tokens: the largest T.
        n_layers: blocks.
        n_heads: H; C must be a multiple of it.
        width: C.
        hidden: F, odd unless you say otherwise.
        weights: numbers to start from instead, by name, as `state_dict` gives them.
    """

    run = staticmethod(run)

    def __init__(
        self,
        *,
        seed: int = 0,
        vocab_size: int = 256,
        max_tokens: int = 32,
        n_layers: int = 2,
        n_heads: int = 2,
        width: int = 32,
        hidden: int = 51,
        weights: dict[str, torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.embed = Embedding(seed, "embed", vocab_size, width)
        positions = spread(seed, "positions", (max_tokens, width), 0.5)
        self.positions = torch.nn.Parameter(positions, requires_grad=False)
        self.blocks = torch.nn.ModuleList(
            Block(seed, f"blocks.{i}", n_heads=n_heads, width=width, hidden=hidden)
            for i in range(n_layers)
        )
        self.branch = Linear(seed, "branch", width, width)
        self.norm_out = Norm(width)
        self.unembed = Linear(seed, "unembed", width, vocab_size, tied=self.embed.weight)
        self.register_buffer("calls", torch.tensor(seed))
        if weights is not None:
            self.load_state_dict(weights)

    def forward(
        self, tokens_BT: torch.Tensor, *, use_branch: bool = False, apply: Apply = run
    ) -> torch.Tensor:
        """Return the logits [B, T, V] of int64 tokens [B, T]."""
        x = self.embed(tokens_BT, apply=apply)
        x = apply("add", x, self.positions[: tokens_BT.shape[1]])
        for block in self.blocks:
            x = block(x, apply=apply)
        if use_branch:
            x = apply("add", x, self.branch(x, apply=apply))
        logits: torch.Tensor = self.unembed(self.norm_out(x, apply=apply), apply=apply)
        return logits

    def loss(
        self,
        tokens_BT: torch.Tensor,
        targets_BT: torch.Tensor,
        *,
        use_branch: bool = False,
        apply: Apply = run,
    ) -> torch.Tensor:
        """Return the mean cross-entropy, a scalar, over all targets but those that are -100."""
        logits = self(tokens_BT, use_branch=use_branch, apply=apply)
        return apply("cross_entropy", logits.flatten(0, 1), targets_BT.flatten())


# --- assignments/shared/tiny_gpt.py: end ---


class Parameters(list[torch.nn.Parameter]):
    """A list of parameters, as `model.parameters()` gives them.

    Args:
        values: their numbers, copied.
        order: places in `values`, in the order of the list; a place that stands twice is one
            parameter that the list holds twice, as tied weights are.
    """

    def __init__(self, values: Sequence[torch.Tensor], order: Sequence[int] | None = None) -> None:
        made = [torch.nn.Parameter(value.clone()) for value in values]
        super().__init__(made[i] for i in (range(len(made)) if order is None else order))

    def set_gradients(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Give every parameter of the list a copy of its gradient, or none."""
        for parameter, gradient in zip(self, gradients, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()

    def gradients(self) -> list[torch.Tensor | None]:
        """Return the gradients, in the order of the list."""
        return [None if p.grad is None else p.grad.clone() for p in self]

    def values(self) -> list[torch.Tensor]:
        """Return the numbers, in the order of the list."""
        return [p.detach().clone() for p in self]


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

    def __call__(self, *inputs: Any, apply: Apply = run) -> torch.Tensor:  # noqa: ANN401 - as the operation
        """Return the operation's result for the inputs, run by `apply`."""
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
        return list(torch.autograd.grad(self._output, leaves, upstream, allow_unused=True))


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
def change(model: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    """Write new numbers into a parameter, as an optimizer's step does."""
    model.get_parameter(name).copy_(value)


def bits_of(x: torch.Tensor) -> torch.Tensor:
    """Return the bits of 16-bit numbers as int16."""
    return x.contiguous().view(torch.int16)
