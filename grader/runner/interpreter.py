"""Makes Triton's interpreter behave as a device does: it chooses a configuration and divides by 0.

The fork server calls this before any fork.
"""

import numpy
from triton.runtime.autotuner import Autotuner


def behave_as_a_device() -> None:
    """Choose configurations without timing them, and compute NaN without a warning.

    An autotuned kernel uses the first of its configurations that pruning leaves. Triton would time
    each one on the device, and it raises where there is no device. The interpreter runs none of
    them faster than another.

    0/0 and −inf − (−inf) are NaN without a warning: the interpreter computes in numpy, and the
    warning would appear in the student's output, and name a line of Triton's code.
    """
    Autotuner._bench = lambda *_, **__: [1.0, 1.0, 1.0]  # quantiles, in ms
    numpy.seterr(all="ignore")
