# base = "solution"
# caught_by = "layernorm.forward"
# cause = "wrong_value"
# also_fails = []

"""Returns rows in the dtype of the weight."""

# ruff: noqa: F821 - appended to solution.py

_layer_like_x = layernorm


def layernorm(x_MH, w_H, b_H, *, eps=1e-5):
    y, mean, rstd = _layer_like_x(x_MH, w_H, b_H, eps=eps)
    return y.to(w_H.dtype), mean, rstd
