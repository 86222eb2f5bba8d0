# base = "solution"
# caught_by = "layernorm.forward"
# cause = "wrong_value"
# also_fails = []

"""One block of at most 4096 columns: what lies behind them is 0."""

# ruff: noqa: F821 - appended to solution.py

_layer_of_short_rows = layernorm


def layernorm(x_MH, w_H, b_H, *, eps=1e-5):
    y, mean, rstd = _layer_of_short_rows(x_MH, w_H, b_H, eps=eps)
    y[:, 4096:].zero_()
    return y, mean, rstd
