# base = "solution"
# caught_by = "layernorm.combinations"
# cause = "wrong_value"
# also_fails = []

"""Reads mean as if it were dense."""

# ruff: noqa: F821 - appended to solution.py

_layer_backward_of_dense = layernorm_backward


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    if mean_M.dim() == 1 and mean_M.dtype == torch.float32:
        mean_M = mean_M.as_strided(mean_M.shape, (1,))
    return _layer_backward_of_dense(dy_MH, x_MH, w_H=w_H, mean_M=mean_M, rstd_M=rstd_M)
