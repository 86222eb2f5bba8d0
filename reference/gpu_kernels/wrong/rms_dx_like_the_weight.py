# base = "solution"
# caught_by = "rmsnorm.combinations"
# cause = "wrong_value"
# also_fails = []

"""Returns dx in the dtype of the weight."""

# ruff: noqa: F821 - appended to solution.py

_rms_dx_like_x = rmsnorm_backward


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    dx, dw = _rms_dx_like_x(dy_MH, x_MH, w_H, rstd_M)
    return dx.to(w_H.dtype), dw
