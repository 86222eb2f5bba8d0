"""What a rank runs around your code: models to train, and the loop that trains them.

Takes: weights and batches of this rank. Gives: `Loop`, which calls your classes the way a training
script does, and the modules. Does not cover: answers; what a step should give is known elsewhere.

You may import from here; nothing here needs to be handed in. Shape letters: B rows, T tokens, V
vocabulary, C and W widths, K columns of a batch, L layers.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

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

    def _loss(
        self, call: nn.Module, batch: tuple[Tensor, ...], options: dict[str, list[int]]
    ) -> Tensor:
        if len(batch) == 1:
            return call(batch[0], **options).mean()
        logits_BTV = call(batch[0], **options)
        return F.cross_entropy(logits_BTV.flatten(0, 1), batch[1].flatten())


# --- modules: begin ---


class Sheet(nn.Module):
    """Parameters p0, p1, … of any shapes and dtypes; each adds a term to the loss if it is used.

    Args:
        values: what the parameters begin with; strides are kept.
        frozen: numbers of parameters that require no gradient.
        tied: pairs (number, number): the second name stands for the first one's parameter.
        buffers: contents of buffers b0, b1, …; those of odd number are not persistent.
    """

    def __init__(
        self,
        values: list[Tensor],
        *,
        frozen: list[int] | None = None,
        tied: list[tuple[int, int]] | None = None,
        buffers: list[Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.names = [f"p{number}" for number in range(len(values))]
        for number, value in enumerate(values):
            own = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype)
            trained = number not in (frozen or [])
            self.register_parameter(f"p{number}", nn.Parameter(own.copy_(value), trained))
        for first, second in tied or []:
            self.register_parameter(f"p{second}", getattr(self, f"p{first}"))
        for number, content in enumerate(buffers or []):
            self.register_buffer(f"b{number}", content.clone(), persistent=number % 2 == 0)

    def forward(self, x_BK: Tensor, used: list[int] | None = None) -> Tensor:
        """Return half the squared distance from 1 of each used term, added up per row, float64."""
        total = torch.zeros(len(x_BK), dtype=torch.float64)
        for number in range(len(self.names)) if used is None else used:
            param = getattr(self, f"p{number}")
            wide = torch.promote_types(param.dtype, torch.float32)  # halves are summed in float32
            row = x_BK[:, torch.arange(param.numel()) % x_BK.shape[1]].to(wide)
            term = row @ param.reshape(-1).to(wide) / param.numel() ** 0.5
            total = total + 0.5 * (term.double() - 1).square()
        return total


class Chain(nn.Module):
    """Linear layers with tanh between them, called in a given order.

    Args:
        weights: [out, in] of each layer.
        biases: [out] of each layer; of no dimensions for one that is added to all outputs.
        order: numbers of the layers in the order of their calls; one may be called twice.
        frozen: numbers of the layers whose weight requires no gradient.
    """

    def __init__(
        self,
        weights: list[Tensor],
        biases: list[Tensor],
        order: list[int],
        *,
        frozen: list[int] | None = None,
    ) -> None:
        super().__init__()
        pairs = zip(weights, biases, strict=True)
        self.layers = nn.ModuleList(_Layer(weight, bias) for weight, bias in pairs)
        self.order = order
        for number in frozen or []:
            self.layers[number].weight.requires_grad_(False)

    def forward(self, x_BK: Tensor) -> Tensor:
        """Return half the squared distance from 1 of the last outputs, added up per row."""
        for number in self.order:
            x_BK = torch.tanh(self.layers[number](x_BK))
        return 0.5 * (x_BK - 1).square().sum(dim=1)


class _Layer(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(bias.clone())

    def forward(self, x_BK: Tensor) -> Tensor:
        return x_BK @ self.weight.t() + self.bias


class Tower(nn.Module):
    """L residual layers [W, W], each of which needs the one before.

    Row i of matrix l begins as `base[l * W + i : l * W + i + W]`.

    Args:
        base: numbers that the matrices begin with, [(L + 1) * W].
        n_layers: L.
        width: W.
    """

    def __init__(self, base: Tensor, *, n_layers: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for number in range(n_layers):
            part = base[number * width : (number + 2) * width - 1]
            layer = nn.Linear(width, width, bias=False, device="meta")
            layer.weight = nn.Parameter(part.unfold(0, width, 1).clone())
            self.layers.append(layer)

    def forward(self, x_BK: Tensor) -> Tensor:
        """Return half the squared distance from 1 of the last outputs, added up per row."""
        x_BK = x_BK.detach().requires_grad_()  # so that backward needs the first matrix once more
        for layer in self.layers:
            x_BK = torch.add(x_BK, torch.tanh(layer(x_BK)), alpha=len(self.layers) ** -0.5)
        return 0.5 * (x_BK - 1).square().sum(dim=1)


# --- modules: end ---


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
