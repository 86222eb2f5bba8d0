# base = "solution"
# caught_by = "rmsnorm.forward"
# cause = "wrong_value"
# also_fails = []

"""Returns rows in the dtype of the weight."""

# ruff: noqa: F821 - appended to solution.py

_rms_like_x = rmsnorm


def rmsnorm(x_MH, w_H, *, eps=1e-6):
    y, rstd = _rms_like_x(x_MH, w_H, eps=eps)
    return y.to(w_H.dtype), rstd
