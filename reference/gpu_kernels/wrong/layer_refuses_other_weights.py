# base = "solution"
# caught_by = "layernorm.forward"
# cause = "crash"
# also_fails = []

"""Wants a weight of the dtype of x."""

# ruff: noqa: F821 - appended to solution.py

_layer_of_any_weight = layernorm


def layernorm(x_MH, w_H, b_H, *, eps=1e-5):
    require(w_H.dtype == x_MH.dtype, "w: not of the dtype of x")
    return _layer_of_any_weight(x_MH, w_H, b_H, eps=eps)
