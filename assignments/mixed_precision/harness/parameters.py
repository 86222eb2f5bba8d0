"""Lists of parameters, with gradients to give and to read.

Precision, scaling and rounding are not here: they are yours. N entries.
"""

from collections.abc import Iterator, Sequence

import torch


class Parameters(list[torch.nn.Parameter]):
    """A list of parameters, as `model.parameters()` gives them.

    Args:
        values: their numbers, copied.
        order: places in `values`, in the order of the list; a place that stands twice is one
            parameter that the list holds twice, as tied weights are.
        frozen: places in `values` of parameters that want no gradient.
    """

    def __init__(
        self,
        values: Sequence[torch.Tensor],
        order: Sequence[int] | None = None,
        frozen: Sequence[int] = (),
    ) -> None:
        made = [
            torch.nn.Parameter(copy_of(value), requires_grad=place not in frozen)
            for place, value in enumerate(values)
        ]
        super().__init__(made[i] for i in (range(len(made)) if order is None else order))

    def set_gradients(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Give every parameter of the list a copy of its gradient, or none."""
        for parameter, gradient in zip(self, gradients, strict=True):
            parameter.grad = None if gradient is None else copy_of(gradient)
        self._given = [parameter.grad for parameter in self]

    def has_given_gradients(self) -> bool:
        """Return whether the gradients are the tensors that were given last, whatever they hold."""
        return all(p.grad is given for p, given in zip(self, self._given, strict=True))

    @torch.no_grad()
    def shift(self, by: float) -> None:
        """Add a number to every float32 parameter, once, in place."""
        for parameter in dict.fromkeys(self):
            if parameter.dtype is torch.float32:
                parameter.add_(by)

    def gradients(self) -> list[torch.Tensor | None]:
        """Return the gradients, in the order of the list."""
        return [None if p.grad is None else p.grad.clone() for p in self]

    def values(self) -> list[torch.Tensor]:
        """Return the numbers, in the order of the list."""
        return [p.detach().clone() for p in self]


class Some(list[torch.nn.Parameter]):
    """Some of the parameters of a list, the same objects: those of one of several optimizers.

    Args:
        params: the list.
        places: in it.
    """

    def __init__(self, params: Sequence[torch.nn.Parameter], places: Sequence[int]) -> None:
        super().__init__(params[place] for place in places)


class Once:
    """Parameters that can be iterated over a single time, as `model.parameters()` can."""

    def __init__(self, params: Sequence[torch.nn.Parameter]) -> None:
        self._iterator = iter(params)

    def __iter__(self) -> Iterator[torch.nn.Parameter]:
        """Return the iterator, which may be used up."""
        return self._iterator


class WideParameters(Parameters):
    """Many parameters in low precision, made in place: 2 bytes a number, and no more.

    Args:
        count: how many parameters.
        numel: numbers in each.
        dtype: of the numbers and of their gradients.
        like: a tensor on the device where they live.
    """

    def __init__(self, count: int, numel: int, dtype: torch.dtype, like: torch.Tensor) -> None:
        super().__init__([])
        ramp = torch.arange(4096, device=like.device)
        self._pattern = (((ramp * 2654435761) >> 7) % 4096).float() / 2048 - 1
        for number in range(count):
            parameter = torch.empty(numel, dtype=dtype, device=like.device)
            parameter.view(-1, 4096).copy_(self._pattern.roll(number))
            self.append(torch.nn.Parameter(parameter))

    def fill_gradients(self, step: int) -> None:
        """Write the gradients of a step: the pattern, shifted by place and step."""
        for number, parameter in enumerate(self):
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            shifted = self._pattern.roll(97 * step + 5 * number + 1) / (1 + step)
            parameter.grad.view(-1, 4096).copy_(shifted)

    def at(self, number: int, places: torch.Tensor) -> torch.Tensor:
        """Return the numbers of one parameter at some places, int64 [N]."""
        return self[number].detach()[places]


def copy_of(x: torch.Tensor) -> torch.Tensor:
    """Return a copy with the same strides."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device).copy_(x)
