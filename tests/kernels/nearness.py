"""Asserts that a kernel's result is near enough to the oracle's.

Each test derives its tolerance from `ROUNDOFF`, so that arithmetic one precision lower fails.
"""

from types import ModuleType

import torch

from benchmarks.kernels._load import load_kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROUNDOFF = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
"""Half a unit in the last place, relative: the error of one rounding. TF32 rounds as fp16 does."""

DTYPES = tuple(ROUNDOFF) if DEVICE == "cuda" else (torch.float32, torch.float16)
"""The interpreter multiplies bfloat16 wrongly and truncates where it should round."""


def load(name: str) -> ModuleType:
    """Return the module of a kernel, interpreted unless there is a GPU."""
    return load_kernels(name, interpreted=DEVICE == "cpu")


def error_of(got: torch.Tensor, want: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest finite magnitude of the oracle.

    Where the oracle is NaN or infinite, the result must be the same.
    """
    got, want = got.double().cpu(), want.double().cpu()
    assert got.shape == want.shape
    finite = want.isfinite()
    assert torch.equal(finite, got.isfinite()), "NaN or infinity in other places"
    odd_got, odd_want = got[~finite], want[~finite]
    assert torch.equal(odd_got.nan_to_num(7.0), odd_want.nan_to_num(7.0))
    if not finite.any():
        return 0.0
    scale = float(want[finite].abs().max())
    difference = float((got[finite] - want[finite]).abs().max())
    return difference / scale if scale else difference


def assert_near(got: torch.Tensor, want: torch.Tensor, tolerance: float) -> None:
    """Fail unless a result is within a tolerance of the oracle's, relative to its scale."""
    error = error_of(got, want)
    assert error <= tolerance, f"{error:.3g} of the scale, allowed {tolerance:.3g}"
