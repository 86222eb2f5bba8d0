"""`FakeDevice`: a device whose times are given beforehand, by the result of each call.

It runs no kernels; each call that it times returns one number, which identifies the call.
"""

import torch

from benchmarks.kernels._case import OURS, Case, Contender
from benchmarks.kernels._device import Call


class FakeDevice:
    """Takes as long for a call as the test says, by what the call returns."""

    kind = "cpu"
    half = torch.float16

    def __init__(self, *, counts: bool = True, held_bytes: int = 0) -> None:
        self.counts = counts
        self.held_bytes = held_bytes
        self.order: list[float] = []
        self.seconds_of: dict[float, list[float]] = {}

    def seconds(self, call: Call) -> float:
        value = float(call().flatten()[0])
        self.order.append(value)
        series = self.seconds_of.get(value, [1.0])
        return series[(self.order.count(value) - 1) % len(series)]

    def extra_bytes(self, call: Call) -> int:
        call()
        return self.held_bytes


def contender(name: str, value: float) -> Contender:
    """Return a contender that returns a number."""
    return Contender(name=name, call=lambda: torch.tensor([value]))


def case_of(*rivals: Contender, **more) -> Case:
    """Return a case whose kernel returns 1, of a gigabyte and a gigaflop."""
    fields = {"shape": "small", "bytes_moved": 10**9, "flops": 10**9, "tolerance": 10.0}
    return Case(**{**fields, **more}, contenders=(contender(OURS, 1.0), *rivals))
