# base = "solution"
# caught_by = "layernorm.combinations"
# cause = "crash"
# also_fails = []

"""Backward, wants a weight of the dtype of x."""

# ruff: noqa: F821 - appended to solution.py

_layer_backward_of_any_weight = layernorm_backward


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    require(w_H.dtype == x_MH.dtype, "w: not of the dtype of x")
    return _layer_backward_of_any_weight(dy_MH, x_MH, w_H=w_H, mean_M=mean_M, rstd_M=rstd_M)
