"""The expected values; the marker must never be readable in a sandbox."""

import torch

MARKER = "oracle-of-the-target-7f3a"


def scaled(x: torch.Tensor, factor: float) -> torch.Tensor:
    """Return `x` times `factor`, computed in float64."""
    return (x.double() * factor).float()
