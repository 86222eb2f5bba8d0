"""Device classes: which class a device belongs to, and which of an author's targets apply to it.

Targets are written for a class: `cpu`, `cuda:h200`, `cuda:h100`, `cuda:a100`, `cuda:t4`, or
`cuda:*` for any other CUDA device. A MIG slice of a device is slower than the device, so its class
is `cuda:*`. Finding devices is in `worker.cuda.driver`.
"""

import re

CPU = "cpu"
ANY_CUDA = "cuda:*"
MODELS = ("h200", "h100", "a100", "t4")
CLASSES = (CPU, *(f"cuda:{model}" for model in MODELS), ANY_CUDA)


def device_class(name: str) -> str:
    """Return the class of a device; `cpu` for the CPU.

    Args:
        name: "cpu", or the driver's name for it, such as "NVIDIA A100-SXM4-80GB" or "Tesla T4".
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
