# base = "solution"
# caught_by = "layernorm.forward"
# cause = "wrong_value"
# also_fails = []

"""Returns mean and rstd in the dtype of x."""

# ruff: noqa: F821 - appended to solution.py

_layer_with_statistics = layernorm


def layernorm(x_MH, w_H, b_H, *, eps=1e-5):
    y, mean, rstd = _layer_with_statistics(x_MH, w_H, b_H, eps=eps)
    return y, mean.to(x_MH.dtype), rstd.to(x_MH.dtype)
