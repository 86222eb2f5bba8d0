# base = "solution"
# caught_by = "rmsnorm.backward"
# cause = "wrong_value"
# also_fails = []

"""Backward, a block of at most 4096 columns: gradients behind them are 0."""

# ruff: noqa: F821 - appended to solution.py

_rms_backward_of_short_rows = rmsnorm_backward


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    dx, dw = _rms_backward_of_short_rows(dy_MH, x_MH, w_H, rstd_M)
    dx[:, 4096:].zero_()
    return dx, dw
