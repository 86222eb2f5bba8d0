# base = "solution"
# caught_by = "rmsnorm.combinations"
# cause = "crash"
# also_fails = []

"""Takes a matrix without rows for a mistake."""

# ruff: noqa: F821 - appended to solution.py

_rms_of_rows = rmsnorm


def rmsnorm(x_MH, w_H, *, eps=1e-6):
    require(0 not in x_MH.shape, "x: no rows")
    return _rms_of_rows(x_MH, w_H, eps=eps)
