# base = "solution"
# caught_by = "rmsnorm.combinations"
# cause = "crash"
# also_fails = []

"""Backward, wants a weight of the dtype of x."""

# ruff: noqa: F821 - appended to solution.py

_rms_backward_of_any_weight = rmsnorm_backward


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    require(w_H.dtype == x_MH.dtype, "w: not of the dtype of x")
    return _rms_backward_of_any_weight(dy_MH, x_MH, w_H, rstd_M)
