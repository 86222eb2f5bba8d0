"""The expected values: no slower than a submission, because thousands of replies are compared."""

import torch

ROUNDS = 24
PRODUCTS = 64


def mixed(x: torch.Tensor) -> torch.Tensor:
    """Return x times itself, tamed, 24 times over."""
    y = x
    for _ in range(ROUNDS):
        y = torch.tanh(y @ x / 8)
    return y


def mixed_sum(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Return the sum of all mixed matrices."""
    return torch.stack([mixed(x) for x in tensors]).double().sum(0).float()


def diagonal_power(diagonal: torch.Tensor) -> torch.Tensor:
    """Return the 65th power of a diagonal matrix."""
    return torch.diag(diagonal.double() ** (PRODUCTS + 1)).float()
