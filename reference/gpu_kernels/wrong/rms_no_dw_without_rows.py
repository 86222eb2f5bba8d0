# base = "solution"
# caught_by = "rmsnorm.combinations"
# cause = "wrong_value"
# also_fails = []

"""Without rows, leaves dw as it was allocated."""

# ruff: noqa: F821 - appended to solution.py

_rms_backward_of_rows = rmsnorm_backward


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    dx, dw = _rms_backward_of_rows(dy_MH, x_MH, w_H, rstd_M)
    return dx, dw if x_MH.shape[0] else dw.fill_(float("nan"))  # what lay there, say
