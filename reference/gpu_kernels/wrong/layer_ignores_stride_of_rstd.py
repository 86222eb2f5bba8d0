# base = "solution"
# caught_by = "layernorm.combinations"
# cause = "wrong_value"
# also_fails = []

"""Reads rstd as if it were dense."""

# ruff: noqa: F821 - appended to solution.py

_layer_backward_of_dense = layernorm_backward


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    if rstd_M.dim() == 1 and rstd_M.dtype == torch.float32:
        rstd_M = rstd_M.as_strided(rstd_M.shape, (1,))
    return _layer_backward_of_dense(dy_MH, x_MH, w_H=w_H, mean_M=mean_M, rstd_M=rstd_M)
