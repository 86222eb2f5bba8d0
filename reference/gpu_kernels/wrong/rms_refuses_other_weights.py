# base = "solution"
# caught_by = "rmsnorm.forward"
# cause = "crash"
# also_fails = []

"""Wants a weight of the dtype of x."""

# ruff: noqa: F821 - appended to solution.py

_rms_of_any_weight = rmsnorm


def rmsnorm(x_MH, w_H, *, eps=1e-6):
    require(w_H.dtype == x_MH.dtype, "w: not of the dtype of x")
    return _rms_of_any_weight(x_MH, w_H, eps=eps)
