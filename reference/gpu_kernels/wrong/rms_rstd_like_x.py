# base = "solution"
# caught_by = "rmsnorm.forward"
# cause = "wrong_value"
# also_fails = []

"""Returns rstd in the dtype of x."""

# ruff: noqa: F821 - appended to solution.py

_rms_with_statistics = rmsnorm


def rmsnorm(x_MH, w_H, *, eps=1e-6):
    y, rstd = _rms_with_statistics(x_MH, w_H, eps=eps)
    return y, rstd.to(x_MH.dtype)
