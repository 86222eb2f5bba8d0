# base = "solution"
# caught_by = "layernorm.backward"
# cause = "forbidden"
# also_fails = ["layernorm.weight_gradients"]

"""Kernels for rows, and torch's sum for what they leave in parts."""

# ruff: noqa: F821 - appended to solution.py

_column_sum_of_mine = column_sum
_layer_backward_by_kernels = layernorm_backward


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    sums = {"w_H": w_H, "mean_M": mean_M, "rstd_M": rstd_M}
    dx, dw, _ = _layer_backward_by_kernels(dy_MH, x_MH, **sums)
    return dx, dw, torch.sum(dy_MH.float(), dim=0).to(w_H.dtype)
