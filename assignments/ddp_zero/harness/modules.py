"""Modules that cases train: parameters of any shape, chains of layers, a stack of large matrices.

Their forward pass returns a loss per row. The language model is in `tiny_gpt`.

Shape letters: B rows, K columns of a batch, L layers, W width.
"""

import torch
from torch import nn

Tensor = torch.Tensor


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
