# base = "solution"
# caught_by = "rmsnorm.weight_gradient"
# cause = "wrong_value"
# also_fails = ["rmsnorm.backward"]

"""Every row stores its share of dw to the same place: the last one wins."""

# ruff: noqa: F821 - appended to solution.py

_rms_backward_in_full = rmsnorm_backward


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    dx, _ = _rms_backward_in_full(dy_MH, x_MH, w_H, rstd_M)
    _, dw = _rms_backward_in_full(dy_MH[-1:], x_MH[-1:], w_H, rstd_M[-1:])
    return dx, dw
