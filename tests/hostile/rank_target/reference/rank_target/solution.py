"""The reference of the rank target."""

import torch
import torch.distributed as dist


def average(x: torch.Tensor) -> torch.Tensor:
    """Return the mean of `x` over all ranks."""
    if not x.is_floating_point():
        raise ValueError("a tensor of floating-point numbers is needed")
    total = x.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


class Shard:
    """The part of a state that this rank holds."""

    def __init__(self, whole: torch.Tensor, size: int = 0) -> None:
        world, rank = dist.get_world_size(), dist.get_rank()
        if size:
            self._part = torch.ones(size // world)
            return
        self._length = len(whole)
        step = -(-len(whole) // world)
        self._part = whole[step * rank : step * (rank + 1)].clone()

    def whole(self) -> torch.Tensor:
        """Return the state of all ranks."""
        world = dist.get_world_size()
        step = -(-self._length // world)
        padded = torch.zeros(step)
        padded[: len(self._part)] = self._part
        parts = [torch.empty(step) for _ in range(world)]
        dist.all_gather(parts, padded)
        return torch.cat(parts)[: self._length]

    def part(self) -> torch.Tensor:
        """Return what this rank holds."""
        return self._part

    def count(self) -> int:
        """Return how many numbers this rank holds."""
        return self._part.numel()
