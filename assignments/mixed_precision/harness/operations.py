"""What runs under a policy: one operation by itself, and a chain of blocks.

Shape letters: N entries, T tokens, C width, F width of the feed-forward part.
"""

from collections.abc import Sequence
from typing import Any

import torch

from .tiny_gpt import Apply, Linear, Norm, run


class Operation:
    """A module of one operation, which remembers its output and can say its gradients.

    Args:
        op: name in `OPERATIONS`.
        names: keyword of each input, "" for those that are given by place.
        keywords: further keywords, such as `dim=-1`.
    """

    run = staticmethod(run)

    def __init__(self, op: str, names: Sequence[str] = (), **keywords: Any) -> None:  # noqa: ANN401 - as the operation
        self._op, self._names, self._keywords = op, tuple(names), keywords
        self._inputs: list[Any] = []
        self._output = torch.empty(0)
        self._calls, self._graph_stays = 0, False

    def __call__(self, *inputs: Any, apply: Apply = run) -> torch.Tensor:  # noqa: ANN401 - as the operation
        """Return the operation's result for the inputs, run by `apply`."""
        self._calls += 1
        self._inputs = [
            x.detach().requires_grad_() if _is_float(x) else x  # a view: what it is given stays
            for x in inputs
        ]
        names = self._names or ("",) * len(inputs)
        pairs = list(zip(names, self._inputs, strict=True))
        by_name = {name: x for name, x in pairs if name}
        by_place = [x for name, x in pairs if not name]
        self._output = apply(self._op, *by_place, **by_name, **self._keywords)
        return self._output

    def gradients(self, upstream: torch.Tensor) -> list[torch.Tensor | None]:
        """Return the gradient of the last output, times `upstream`, for every float input."""
        leaves = [x for x in self._inputs if _is_float(x)]
        upstream = upstream.to(self._output.dtype)
        keep = self._graph_stays
        return list(
            torch.autograd.grad(
                self._output, leaves, upstream, allow_unused=True, retain_graph=keep
            )
        )

    def gradient_dtypes(self, upstream: torch.Tensor) -> list[str]:
        """Return the dtypes of these gradients, which may be asked for once more then."""
        self._graph_stays = True
        found = self.gradients(upstream)
        self._graph_stays = False
        return [str(getattr(x, "dtype", x)) for x in found]

    def rough_gradients(self, upstream: torch.Tensor) -> list[torch.Tensor | None]:
        """Return these gradients in bfloat16, whose places are all that casts have left of some."""
        return [x if x is None else x.to(torch.bfloat16) for x in self.gradients(upstream)]

    def calls(self) -> int:
        """Return how often it was called."""
        return self._calls

    def arrived(self) -> list[str]:
        """Return the dtypes of the tensors that it was called with last, in order."""
        return [str(x.dtype) for x in self._inputs if isinstance(x, torch.Tensor)]

    def output_is_view(self) -> bool:
        """Return whether the last output has the memory of the first input: nothing was copied."""
        pointers = [x.untyped_storage().data_ptr() for x in (self._output, self._inputs[0])]
        return pointers[0] == pointers[1]


def _is_float(x: Any) -> bool:  # noqa: ANN401 - any input
    return isinstance(x, torch.Tensor) and x.is_floating_point()


class Chain(torch.nn.Module):
    """Residual blocks of norm, linear, GELU, linear: activations outweigh everything else.

    Args:
        like: a tensor on the device where it lives.
        n_blocks: blocks.
        width: C.
        hidden: F.
    """

    run = staticmethod(run)

    def __init__(self, like: torch.Tensor, *, n_blocks: int, width: int, hidden: int) -> None:
        super().__init__()
        modules, numbers = torch.nn.ModuleList, range(n_blocks)
        with torch.device(like.device):
            self.norms = modules(Norm(width) for _ in numbers)
            self.ups = modules(Linear(i, "up", width, hidden) for i in numbers)
            self.downs = modules(Linear(i, "down", hidden, width) for i in numbers)
        self._output = torch.empty(0)

    def forward(self, x_TC: torch.Tensor, *, apply: Apply = run) -> torch.Tensor:
        """Return [T, C] of [T, C]; rows do not depend on each other."""
        x = x_TC
        for norm, up, down in zip(self.norms, self.ups, self.downs, strict=True):
            hidden = apply("gelu", up(norm(x, apply=apply), apply=apply))
            x = apply("add", x, down(hidden, apply=apply))
        self._output = x
        return x

    def gradient(self, name: str, upstream_NC: torch.Tensor, rows_N: torch.Tensor) -> torch.Tensor:
        """Return the gradient of one parameter, for an upstream that is zero but for some rows."""
        upstream = torch.zeros_like(self._output)
        upstream[rows_N] = upstream_NC.to(upstream.dtype)
        (found,) = torch.autograd.grad(self._output, [self.get_parameter(name)], upstream)
        return found
