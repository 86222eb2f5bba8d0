# base = "solution"
# caught_by = "layernorm.forward"
# cause = "crash"
# also_fails = []

"""Wants a bias of the dtype of x."""

# ruff: noqa: F821 - appended to solution.py

_layer_of_any_bias = layernorm


def layernorm(x_MH, w_H, b_H, *, eps=1e-5):
    require(b_H.dtype == x_MH.dtype, "b: not of the dtype of x")
    return _layer_of_any_bias(x_MH, w_H, b_H, eps=eps)
