"""Makes Triton's interpreter behave as a device does: it chooses a configuration and divides by 0.

The fork server calls both functions before any fork.
"""

from typing import Any

import numpy
from triton.runtime.autotuner import Autotuner

Value = Any  # what a student passes to a kernel


def choose_first_configuration() -> None:
    """Make an autotuned kernel use the first of its configurations that pruning leaves.

    Triton would time each one on the device, and it raises where there is no device. The
    interpreter runs none of them faster than another.
    """
    Autotuner._bench = _equal_times


def divide_as_a_device() -> None:
    """Compute 0/0 and −inf − (−inf) as NaN without a warning: the interpreter computes in numpy.

    The warning would appear in the student's output, and name a line of Triton's code.
    """
    numpy.seterr(all="ignore")


def _equal_times(*_: Value, **__: Value) -> list[float]:
    """Replace a benchmark: return the same quantiles, in ms, for every configuration."""
    return [1.0, 1.0, 1.0]
