"""Wrappers use torch to allocate, to view and to copy, and for nothing else.

What computes is a kernel: an assignment that denies torch's operators can stand on these files. The
operators are those that reach torch's dispatcher during a call; Triton's interpreter makes some
itself, and all of those are of the allowed kinds as well.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.kernels._load import OPERATIONS
from tests.kernels.nearness import DEVICE, load
from tests.kernels.pages import draw_pages

ALLOWED = frozenset(
    "empty empty_like empty_strided new_empty new_empty_strided set_ detach alias as_strided "
    "view _unsafe_view transpose t permute select slice split unbind expand squeeze unsqueeze "
    "copy_ clone".split()
)
"""Operators of torch that move or name data, and make none."""


class Seen(TorchDispatchMode):
    """Notes the names of operators."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def half(*shape):
    return torch.randn(shape, device=DEVICE).half()


def attend_back(op):
    forward = load("flash_attention")
    q, k = half(1, 2, 20, 16), half(1, 1, 24, 16)
    do = half(1, 2, 16, 20).mT  # not contiguous
    results = forward.flash_attention(q, k, k, causal=True)
    return partial(op.flash_attention_backward, do, (q, k, k), results)


def norm(op):
    x, w = half(5, 40), half(40)
    return lambda: op.rmsnorm_backward(x, x, w, op.rmsnorm(x, w)[1])


def layer(op):
    x, w = half(5, 40), half(40)

    def both():
        _, mean, rstd = op.layernorm(x, w, w)
        op.layernorm_backward(x, x, w_H=w, mean_M=mean, rstd_M=rstd)

    return both


def step(op):
    w, m, v = torch.rand(3, 50, device=DEVICE)
    return partial(op.adamw, w, half(50), (m, v), step=1, rule=op.Rule(), copy=half(50))


def write(op):
    k, cache = half(3, 2, 16), half(4, 8, 2, 16)
    slots = torch.tensor([5, -1, 9], device=DEVICE)
    return partial(op.kv_write, k, k, slots, (cache, cache))


def prefill(op):
    starts = torch.tensor([0, 3, 4], device=DEVICE)
    pages = draw_pages([20, 9], dtype=torch.float16)
    return partial(op.paged_prefill, half(4, 4, 16), (starts, 3), *pages)


def decode(op):
    wrapper = getattr(op, op.__name__.rpartition(".")[2])
    return partial(wrapper, half(2, 4, 16), *draw_pages([20, 9], dtype=torch.float16))


def lose(op):
    return partial(op.cross_entropy, half(5, 40), torch.arange(10, device=DEVICE)[::2])


CALLS: dict[str, Callable[[ModuleType], Callable[[], object]]] = {
    "adamw": step,
    "cross_entropy": lose,
    "flash_attention": lambda op: partial(
        op.flash_attention, half(1, 2, 9, 8), *half(2, 1, 1, 9, 8)
    ),
    "flash_attention_backward": attend_back,
    "kv_write": write,
    "layernorm": layer,
    "matmul": lambda op: partial(
        op.matmul, half(20, 9), half(30, 9).T, half(30), activation="gelu"
    ),
    "matrix_add": lambda op: partial(op.matrix_add, half(5, 40), half(40, 5).T),
    "paged_decode": decode,
    "paged_prefill": prefill,
    "rmsnorm": norm,
    "softmax": lambda op: partial(op.softmax, half(5, 40)),
    "split_kv_decode": decode,
}
"""By kernel: makes the arguments of a call, and returns the call."""


def operators_of(call: Callable[[], object]) -> set[str]:
    """Return the names of the operators that reach torch's dispatcher during a call."""
    seen = Seen()
    with seen:
        call()
    return seen.names


@pytest.mark.parametrize("stem", OPERATIONS)
def test_nothing_is_computed_with_torch(stem):
    call = CALLS[stem](load(stem))
    assert operators_of(call) <= ALLOWED


@pytest.mark.parametrize("work", [torch.sum, torch.neg, torch.zeros_like])
def test_what_computes_or_fills_is_seen(work):
    assert not operators_of(partial(work, torch.ones(3, device=DEVICE))) <= ALLOWED
