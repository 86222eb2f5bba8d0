"""What Triton's interpreter does not do as a device does: choose a configuration, divide by 0.

Takes: nothing. Gives: `choose_first_configuration` and `divide_as_a_device`, called in the warm
process before any fork. Does not cover: compiling (see `runner.ahead_of_time`).
"""

from typing import Any

import numpy
from triton.runtime.autotuner import Autotuner

Value = Any  # what a student passes to a kernel


def choose_first_configuration() -> None:
    """Let an autotuned kernel take the first of its configurations that pruning leaves.

    Triton would time each on the device, and raises where there is none; interpreted, none is
    faster than another.
    """
    Autotuner._bench = _as_fast_as_any


def divide_as_a_device() -> None:
    """Let 0/0 and −inf − (−inf) be NaN without a warning: interpreted, kernels compute in numpy.

    It would stand among what a student's code printed, and name a line of Triton's.
    """
    numpy.seterr(all="ignore")


def _as_fast_as_any(*_: Value, **__: Value) -> list[float]:
    """Stand for a benchmark: quantiles in milliseconds, the same for every configuration."""
    return [1.0, 1.0, 1.0]
