"""Which class a device belongs to, and which of an author's targets apply to it.

Takes: the name that a driver gives a device. Gives: `device_class`, `choose_tier`. Does not cover:
finding devices (see `worker.cuda.driver`), what a tier is (see `plan`).

A class is what a target is written for: `cpu`, `cuda:h200`, `cuda:h100`, `cuda:a100`, `cuda:t4`,
or `cuda:*` for any other CUDA device. A slice of a device is not the device: its class is `cuda:*`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from grader.errors import AuthorError

CPU = "cpu"
ANY_CUDA = "cuda:*"
MODELS = ("h200", "h100", "a100", "t4")
CLASSES = (CPU, *(f"cuda:{model}" for model in MODELS), ANY_CUDA)

T = TypeVar("T")


def device_class(name: str) -> str:
    """Return the class of the device that its driver calls `name`; `cpu` for the processor.

    Args:
        name: "cpu", or a name such as "NVIDIA A100-SXM4-80GB" or "Tesla T4".
    """
    words = re.findall(r"[a-z0-9]+", name.lower())
    if words == [CPU]:
        return CPU
    if "mig" not in words:
        for model in MODELS:
            if model in words:
                return f"cuda:{model}"
    return ANY_CUDA


def candidates(name: str) -> tuple[str, ...]:
    """Return the keys that apply to the class `name`, the most specific first."""
    return (name, ANY_CUDA) if name.startswith("cuda:") and name != ANY_CUDA else (name,)


def has_tier(tiers: Iterable[str], name: str) -> bool:
    """Return whether `tiers` has an entry for the class `name`."""
    return bool(set(tiers) & set(candidates(name)))


def choose_tier(tiers: Mapping[str, T], name: str) -> T:
    """Return the most specific entry for the class `name`.

    Raises:
        AuthorError: if there is none; `has_tier` asks before.
    """
    for key in candidates(name):
        if key in tiers:
            return tiers[key]
    raise AuthorError(
        f"no target for {name}; there are targets for {', '.join(sorted(tiers)) or 'none'}",
        hint=f"add one for {name}" + (f" or {ANY_CUDA}" if name.startswith("cuda") else ""),
    )
