# base = "solution"
# caught_by = "layernorm.combinations"
# cause = "crash"
# also_fails = []

"""Wants an eps above 0."""

# ruff: noqa: F821 - appended to solution.py

_layer_of_any_eps = layernorm


def layernorm(x_MH, w_H, b_H, *, eps=1e-5):
    require(eps > 0, "eps: not above 0")
    return _layer_of_any_eps(x_MH, w_H, b_H, eps=eps)
