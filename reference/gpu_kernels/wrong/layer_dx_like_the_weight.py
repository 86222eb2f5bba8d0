# base = "solution"
# caught_by = "layernorm.combinations"
# cause = "wrong_value"
# also_fails = []

"""Returns dx in the dtype of the weight."""

# ruff: noqa: F821 - appended to solution.py

_layer_dx_like_x = layernorm_backward


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    dx, *sums = _layer_dx_like_x(dy_MH, x_MH, w_H=w_H, mean_M=mean_M, rstd_M=rstd_M)
    return dx.to(w_H.dtype), *sums
