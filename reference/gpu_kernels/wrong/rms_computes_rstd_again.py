# base = "solution"
# caught_by = "rmsnorm.combinations"
# cause = "wrong_value"
# also_fails = []

"""Computes rstd from x again, and does not know eps."""

# ruff: noqa: F821 - appended to solution.py

_rms_backward_of_given_rstd = rmsnorm_backward


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    check_tensor("rstd", rstd_M, rank=1, dtypes=(torch.float32,))
    check_shape("rstd", rstd_M, (x_MH.shape[0],))
    _, rstd = rmsnorm(x_MH, w_H, eps=1e-6)
    return _rms_backward_of_given_rstd(dy_MH, x_MH, w_H, rstd)
