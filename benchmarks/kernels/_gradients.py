"""The backward pass of a rival, alone.

Takes: a forward function, its arguments, the gradient of its output. Gives: a call that runs
autograd through a graph that is built once and kept. Does not cover: the forward pass's time.
"""

from collections.abc import Callable

import torch

from benchmarks.kernels._device import Call


def backward_of(
    forward: Callable[..., torch.Tensor], leaves: tuple[torch.Tensor, ...], slope: torch.Tensor
) -> Call:
    """Return a call that gives the gradient of the first leaf, and computes those of all.

    The graph is built at the first call, so that a forward pass that cannot run is found there.
    """
    graph: list[tuple[torch.Tensor, tuple[torch.Tensor, ...]]] = []

    def call() -> torch.Tensor:
        if not graph:
            own = tuple(leaf.detach().requires_grad_() for leaf in leaves)
            graph.append((forward(*own), own))
        out, own = graph[0]
        return torch.autograd.grad(out, own, slope, retain_graph=True)[0]

    return call
