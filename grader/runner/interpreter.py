"""Makes Triton's interpreter behave as a device does, where the two differ.

`behave_as_a_device` is called in the fork server before any fork, and on a student's machine
before a check, so that both run the same kernels with the same values. It changes Triton in this
process, for good. What differs in how a kernel's text is read is in `runner.kernel_language`, what
differs in the values of operations in `runner.kernel_arithmetic`.

It does not cover `tl.inline_asm_elementwise`, which no interpreter can run, races, and whatever
depends on the layout of threads.
"""

import importlib
import sys
from typing import Any

import numpy

CHANGED = (3, 9)
"""The version of Triton whose interpreter is changed; of another one only what is timed is."""

Module = Any  # of Triton; it has no types


def behave_as_a_device() -> None:
    """Choose configurations without timing them, compute what a device computes, and do not warn.

    0/0 and −inf − (−inf) are NaN without a warning: the interpreter computes in numpy, and the
    warning would appear in the student's output, and name a line of Triton's code.
    """
    numpy.seterr(all="ignore")
    compute_as_a_device()


def compute_as_a_device() -> None:
    """Choose configurations without timing them, and compute what a device computes.

    An autotuned kernel uses the first of its configurations that pruning leaves. Triton would time
    each one on the device, and it raises where there is no device. The interpreter runs none of
    them faster than another.

    Does nothing if Triton compiles in this process, or was changed before.
    """
    triton = importlib.import_module("triton")
    if not triton.knobs.runtime.interpret:
        return
    tuner = importlib.import_module("triton.runtime.autotuner")
    tuner.Autotuner._bench = lambda *_, **__: [1.0, 1.0, 1.0]  # quantiles, in ms
    interpreter = importlib.import_module("triton.runtime.interpreter")
    if version_of(triton) != CHANGED or hasattr(interpreter, "as_a_device"):
        return
    # Not at the top: Triton may be imported anew, and these two belong to one import of it.
    for name in ("kernel_language", "kernel_arithmetic"):
        sys.modules.pop(f"{__package__}.{name}", None)
        importlib.import_module(f".{name}", __package__).install()
    vars(interpreter)["as_a_device"] = True


def version_of(triton: Module) -> tuple[int, ...]:
    """Return the first two numbers of Triton's version."""
    return tuple(int(part) for part in str(triton.__version__).split(".")[:2])
