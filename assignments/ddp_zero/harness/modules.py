"""Modules that cases train: parameters of any shape, chains of layers, a stack of large matrices.

Their forward pass returns a loss per row. The language model is in `tiny_gpt`.

Shape letters: B rows, K columns of a batch, L layers, W width.
"""

from typing import Any

import torch
from torch import nn

Tensor = torch.Tensor


class Sheet(nn.Module):
    """Parameters p0, p1, … of any shapes and dtypes; each adds a term to the loss if it is used.

    Args:
        values: what the parameters begin with; strides are kept.
        frozen: numbers of parameters that require no gradient.
        tied: pairs (number, number): the second name stands for the first one's parameter.
        buffers: contents of buffers b0, b1, …; those of odd number are not persistent. Strides are
            kept as well.
        inner: arguments of a sheet that this one holds as a submodule; its parameters are numbered
            on from here.
    """

    def __init__(
        self,
        values: list[Tensor],
        *,
        frozen: list[int] | None = None,
        tied: list[tuple[int, int]] | None = None,
        buffers: list[Tensor] | None = None,
        inner: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.names = [f"p{number}" for number in range(len(values))]
        for number, value in enumerate(values):
            trained = number not in (frozen or [])
            self.register_parameter(f"p{number}", nn.Parameter(_copy(value), trained))
        for first, second in tied or []:
            self.register_parameter(f"p{second}", getattr(self, f"p{first}"))
        for number, content in enumerate(buffers or []):
            self.register_buffer(f"b{number}", _copy(content), persistent=number % 2 == 0)
        self.inner = None if inner is None else Sheet(**inner)
        self.count: int = len(self.names) + (self.inner.count if self.inner else 0)

    def forward(self, x_BK: Tensor, used: list[int] | None = None) -> Tensor:
        """Return half the squared distance from 1 of each used term, added up per row, float64."""
        total = torch.zeros(len(x_BK), dtype=torch.float64)
        numbers = list(range(self.count)) if used is None else used
        own = len(self.names)
        for number in (number for number in numbers if number < own):
            param = getattr(self, f"p{number}")
            wide = torch.promote_types(param.dtype, torch.float32)  # halves are summed in float32
            row = x_BK[:, torch.arange(param.numel()) % x_BK.shape[1]].to(wide)
            term = row @ param.reshape(-1).to(wide) / param.numel() ** 0.5
            total = total + 0.5 * (term.double() - 1).square()
        if self.inner is not None:
            total = total + self.inner(x_BK, [n - own for n in numbers if n >= own])
        return total


def _copy(value: Tensor) -> Tensor:
    """Return a copy with the same strides, gaps included."""
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype).copy_(value)


class Chain(nn.Module):
    """Linear layers with tanh between them, called in a given order.

    Args:
        weights: [out, in] of each layer.
        biases: [out] of each layer; of no dimensions for one that is added to all outputs.
        order: numbers of the layers in the order of their calls; one may be called twice.
        frozen: numbers of the layers whose weight requires no gradient.
        frozen_biases: the same of biases.
        shared: pairs (number, number): the second layer has the first one's weight.
        scales: by number of a layer, numbers that its submodule `scale` multiplies its outputs by.
        spares: numbers of the layers that hold a parameter which their forward pass never uses.
    """

    def __init__(
        self,
        weights: list[Tensor],
        biases: list[Tensor],
        order: list[int],
        *,
        frozen: list[int] | None = None,
        frozen_biases: list[int] | None = None,
        shared: list[tuple[int, int]] | None = None,
        scales: dict[int, Tensor] | None = None,
        spares: list[int] | None = None,
    ) -> None:
        super().__init__()
        pairs = zip(weights, biases, strict=True)
        self.layers = nn.ModuleList(
            _Layer(weight, bias, (scales or {}).get(number), spare=number in (spares or []))
            for number, (weight, bias) in enumerate(pairs)
        )
        self.order = order
        for number in frozen or []:
            self.layers[number].weight.requires_grad_(False)
        for number in frozen_biases or []:
            self.layers[number].bias.requires_grad_(False)
        for first, second in shared or []:
            self.layers[second].weight = self.layers[first].weight

    def forward(self, x_BK: Tensor, order: list[int] | None = None) -> Tensor:
        """Return half the squared distance from 1 of the last outputs, added up per row.

        With `order` the layers are called in another order, this once.
        """
        for number in self.order if order is None else order:
            x_BK = torch.tanh(self.layers[number](x_BK))
        return 0.5 * (x_BK - 1).square().sum(dim=1)


class _Layer(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor, scale: Tensor | None, *, spare: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(bias.clone())
        self.scale = None if scale is None else _Scale(scale)
        if spare:
            self.spare = nn.Parameter(bias.clone())

    def forward(self, x_BK: Tensor) -> Tensor:
        x_BK = x_BK.to(self.weight.dtype) @ self.weight.t() + self.bias
        return x_BK if self.scale is None else self.scale(x_BK)


class _Scale(nn.Module):
    def __init__(self, factors: Tensor) -> None:
        super().__init__()
        self.factors = nn.Parameter(factors.clone())

    def forward(self, x_BK: Tensor) -> Tensor:
        return x_BK * self.factors


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
