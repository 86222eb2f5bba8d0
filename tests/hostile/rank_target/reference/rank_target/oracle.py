"""What ranks should compute, slow and obvious."""

import torch


def mean_of(parts: list[torch.Tensor]) -> torch.Tensor:
    """Return the mean of tensors of one shape."""
    return torch.stack(parts).double().mean(dim=0).float()
