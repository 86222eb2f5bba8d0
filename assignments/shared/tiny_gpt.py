"""A small GPT over bytes, the same on every machine: what the training assignments train.

It has what real models have and what toy ones lack: weights that are tied, frozen, or unused, a
layer of odd size, a buffer of integers. Precision and optimizers are what students build.

Shape letters: B rows, T tokens, C width, V vocabulary, H heads, F width of the feed-forward part.
Source of the architecture: Radford et al., "Language models are unsupervised multitask learners",
2019 (norms before the parts, learned positions replaced by fixed ones).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

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
