"""The hidden reference, which is an honest submission as well."""

import torch

ROUNDS = 24
PRODUCTS = 64


def mix(x: torch.Tensor) -> torch.Tensor:
    """Return x times itself, tamed, 24 times over."""
    y = x
    for _ in range(ROUNDS):
        y = torch.tanh(y @ x / 8)
    return y


def power(x: torch.Tensor) -> torch.Tensor:
    """Return the 65th power of x, one product after the other."""
    y = x
    for _ in range(PRODUCTS):
        y = y @ x
    return y


class Tally:
    """The sum of all mixed matrices."""

    def __init__(self) -> None:
        self._total: torch.Tensor | None = None

    def add(self, x: torch.Tensor) -> None:
        """Add the mix of `x`."""
        mixed = mix(x)
        self._total = mixed if self._total is None else self._total + mixed

    def total(self) -> torch.Tensor | None:
        """Return the sum."""
        return self._total


class Store:
    """Everything that was put in, in memory that is taken once."""

    def __init__(self, rows: int, columns: int) -> None:
        self._kept = torch.empty(rows, columns)
        self._rows = 0

    def put(self, x: torch.Tensor) -> None:
        """Put in the next rows."""
        self._kept[self._rows : self._rows + len(x)] = x
        self._rows += len(x)

    def get(self) -> torch.Tensor:
        """Return all rows."""
        return self._kept[: self._rows]
