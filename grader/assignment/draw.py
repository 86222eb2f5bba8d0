"""`Draw`: the random inputs of a case, from a counter-based generator keyed by a seed.

A case's stream depends only on the seed, assignment, problem, check and instance, never on the
order in which cases run, so the whole class gets the same inputs.
Source: Philox-4x64, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, as
implemented by numpy.
"""

import hashlib
import itertools
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch

PUBLIC_SEED = "public"
"""The seed of public cases; students may know it."""

T = TypeVar("T")


class Draw:
    """One case's stream of random inputs; the grader makes it, and passes it to the case.

    Everything random in a case comes from here. `random`, `torch.randn` and the clock would give
    each student other inputs, and `grader validate` refuses such a case.

    Args:
        seed: the public seed, or the secret one of a run.
        path: assignment, problem and check.
        index: number of the instance.

    Attributes:
        index: number of this instance of the case, from 0; a case may use it to reach an edge.
    """

    def __init__(self, seed: str, path: tuple[str, ...], index: int) -> None:
        self.seed, self.path, self.index = seed, path, index
        text = "\x1f".join((seed, *path, str(index)))
        key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        self._rng = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))

    def integer(self, low: int, high: int) -> int:
        """Return an integer in `[low, high]`, both ends included."""
        return int(self._rng.integers(low, high, endpoint=True))

    def choice(self, options: Sequence[T]) -> T:
        """Return one of `options`, each equally likely."""
        return options[self.integer(0, len(options) - 1)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return `items` in a random order."""
        return [items[int(i)] for i in self._rng.permutation(len(items))]

    def uniform(self) -> float:
        """Return a float in `[0, 1)`."""
        return float(self._rng.random())

    def normal_tensor(
        self, *shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0
    ) -> torch.Tensor:
        """Return a tensor of `shape`, normal with mean 0 and standard deviation `scale`."""
        values = self._rng.standard_normal(shape, dtype=np.float64) * scale
        return torch.from_numpy(np.asarray(values)).to(dtype)

    def uniform_tensor(
        self, *shape: int, dtype: torch.dtype = torch.float32, low: float = 0.0, high: float = 1.0
    ) -> torch.Tensor:
        """Return a tensor of `shape`, uniform in `[low, high)`."""
        values = self._rng.random(shape, dtype=np.float64) * (high - low) + low
        return torch.from_numpy(np.asarray(values)).to(dtype)

    def integer_tensor(self, *shape: int, low: int, high: int) -> torch.Tensor:
        """Return an int64 tensor of `shape` with values in `[low, high]`, both ends included."""
        values = self._rng.integers(low, high, size=shape, dtype=np.int64, endpoint=True)
        return torch.from_numpy(np.asarray(values))

    def split(self, total: int, parts: int) -> list[int]:
        """Return `parts` positive integers that add up to `total`.

        Raises:
            ValueError: if `total < parts` or `parts < 1`.
        """
        if parts < 1 or total < parts:
            raise ValueError(f"cannot split {total} into {parts} positive parts")
        cuts = np.sort(self._rng.choice(total - 1, size=parts - 1, replace=False) + 1)
        edges = [0, *(int(cut) for cut in cuts), total]
        return [right - left for left, right in itertools.pairwise(edges)]
