"""A deep model of any size on all ranks, and what training it should come to.

Takes: `Draw`. Gives: `new_tower`, `TowerOnRanks`, `once`. Does not cover: what is measured (see
`workloads`).

The judge trains the whole model, in float32, with one process. Nothing less would do: of a model
whose rows or layers can be followed alone, a rank could follow them alone as well, and hold and
send nothing until it is asked. In a tower every gradient depends on every layer. All batches
together have more than W/8 rows, so that even the factors of a gradient are a quarter of it, and
those of three steps as much as what a rank must hold of the state.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from grader.author import Draw, Each, New, Ref, WorkloadSteps, World

from .modules import Tower

Tensor = torch.Tensor

ROWS = 3
"""Rows of each matrix that are compared. Ranks are told which when they are read, and they are read
within the phase, so that what was put off until then counts as well."""

_LAST: dict[str, list[Tensor]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerOnRanks:
    """A `Tower` on every rank.

    Attributes:
        ref: the module, on every rank.
        world: N.
        n_layers: matrices.
        width: rows and columns of each.
        base: numbers that the matrices begin with.
        numbers: which rows of each matrix are compared.
    """

    ref: Ref
    world: int
    n_layers: int
    width: int
    base: Tensor
    numbers: list[int]

    @property
    def nbytes(self) -> int:
        """Bytes of parameters, P."""
        return 4 * self.n_layers * self.width**2

    def batches(self, draw: Draw, rows: int = 0) -> list[Tensor]:
        """Return a batch for each rank; by default all have more than W/8 rows together."""
        rows = rows or self.width // (8 * self.world) + 1
        return [draw.normal_tensor(rows, self.width) for _ in range(self.world)]

    def own(self) -> Tower:
        """Return the model as it begins, in this process."""
        return Tower(self.base, n_layers=self.n_layers, width=self.width)

    def rows_of(self, model: Tower) -> list[Tensor]:
        """Return the compared rows of a model's matrices."""
        return [layer.weight.detach()[self.numbers].clone() for layer in model.layers]

    def gradients_of(self, model: Tower) -> list[Tensor]:
        """Return the compared rows of their gradients."""
        return [layer.weight.grad[self.numbers].clone() for layer in model.layers]


def new_tower(draw: Draw, world: int, n_layers: int, width: int) -> WorkloadSteps:
    """Start a world and the same `Tower` on every rank of it."""
    base = draw.normal_tensor((n_layers + 1) * width, scale=width**-0.5)
    numbers = sorted(draw.shuffled(range(width))[:ROWS])
    yield World(world)
    ref = yield Each(New("harness:Tower", base, n_layers=n_layers, width=width))
    return TowerOnRanks(
        ref=ref, world=world, n_layers=n_layers, width=width, base=base, numbers=numbers
    )


def losses_of(model: Tower, batches: Sequence[Tensor]) -> Tensor:
    """Return each rank's mean loss, [N]; their mean is what is minimised."""
    return model(torch.cat(list(batches))).view(len(batches), -1).mean(dim=1)


def once(inputs: Sequence[Tensor], compute: Callable[[], list[Tensor]]) -> list[Tensor]:
    """Return what is computed of these inputs, computed once for the two sides of a pair."""
    digest = hashlib.sha256()
    for tensor in inputs:
        digest.update(tensor.numpy().tobytes())
    key = digest.hexdigest()
    if key not in _LAST:
        _LAST.clear()
        _LAST[key] = compute()
    return _LAST[key]
