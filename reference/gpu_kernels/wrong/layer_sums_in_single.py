# base = "solution"
# caught_by = "layernorm.weight_gradients"
# cause = "wrong_value"
# also_fails = []

"""Returns dw and db in float32, as they were added."""

# ruff: noqa: F821 - appended to solution.py

_layer_sums_like_w = layernorm_backward


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    dx, dw, db = _layer_sums_like_w(dy_MH, x_MH, w_H=w_H, mean_M=mean_M, rstd_M=rstd_M)
    return dx, dw.float(), db.float()
