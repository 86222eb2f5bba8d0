# base = "solution"
# caught_by = "layernorm.backward"
# cause = "wrong_value"
# also_fails = []

"""Backward, a block of at most 4096 columns: gradients behind them are 0."""

# ruff: noqa: F821 - appended to solution.py

_layer_backward_of_short_rows = layernorm_backward


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    sums = {"w_H": w_H, "mean_M": mean_M, "rstd_M": rstd_M}
    dx, dw, db = _layer_backward_of_short_rows(dy_MH, x_MH, **sums)
    dx[:, 4096:].zero_()
    return dx, dw, db
