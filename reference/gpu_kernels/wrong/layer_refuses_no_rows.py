# base = "solution"
# caught_by = "layernorm.combinations"
# cause = "crash"
# also_fails = []

"""Takes a matrix without rows for a mistake."""

# ruff: noqa: F821 - appended to solution.py

_layer_of_rows = layernorm


def layernorm(x_MH, w_H, b_H, *, eps=1e-5):
    require(0 not in x_MH.shape, "x: no rows")
    return _layer_of_rows(x_MH, w_H, b_H, eps=eps)
