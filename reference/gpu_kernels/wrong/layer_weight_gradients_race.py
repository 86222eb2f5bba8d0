# base = "solution"
# caught_by = "layernorm.weight_gradients"
# cause = "wrong_value"
# also_fails = ["layernorm.backward"]

"""Every row stores its share of dw and db to the same place: the last one wins."""

# ruff: noqa: F821 - appended to solution.py

_layer_backward_in_full = layernorm_backward


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    sums = {"w_H": w_H, "mean_M": mean_M, "rstd_M": rstd_M}
    dx, *_ = _layer_backward_in_full(dy_MH, x_MH, **sums)
    sums = {"w_H": w_H, "mean_M": mean_M[-1:], "rstd_M": rstd_M[-1:]}
    return dx, *_layer_backward_in_full(dy_MH[-1:], x_MH[-1:], **sums)[1:]
