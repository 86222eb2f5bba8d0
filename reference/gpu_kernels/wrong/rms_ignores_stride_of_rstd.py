# base = "solution"
# caught_by = "rmsnorm.combinations"
# cause = "wrong_value"
# also_fails = []

"""Reads rstd as if it were dense."""

# ruff: noqa: F821 - appended to solution.py

_rms_backward_of_dense = rmsnorm_backward


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    if rstd_M.dim() == 1 and rstd_M.dtype == torch.float32:
        rstd_M = rstd_M.as_strided(rstd_M.shape, (1,))
    return _rms_backward_of_dense(dy_MH, x_MH, w_H, rstd_M)
