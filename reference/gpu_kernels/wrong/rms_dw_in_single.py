# base = "solution"
# caught_by = "rmsnorm.weight_gradient"
# cause = "wrong_value"
# also_fails = []

"""Returns dw in float32, as it was added."""

# ruff: noqa: F821 - appended to solution.py

_rms_dw_like_w = rmsnorm_backward


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    dx, dw = _rms_dw_like_w(dy_MH, x_MH, w_H, rstd_M)
    return dx, dw.float()
