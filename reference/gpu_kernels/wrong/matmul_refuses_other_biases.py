# base = "solution"
# caught_by = "matmul.epilogue"
# cause = "crash"
# also_fails = []

"""Wants a bias of the dtype of a."""

# ruff: noqa: F821 - appended to solution.py

_product_with_any_bias = matmul


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    require(bias_N is None or bias_N.dtype == a_MK.dtype, "bias: not of the dtype of a")
    return _product_with_any_bias(a_MK, b_KN, bias_N, activation=activation)
