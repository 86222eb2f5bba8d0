# base = "solution"
# caught_by = "matmul.product"
# cause = "crash"
# also_fails = []

"""Takes a K of 0 for a mistake."""

# ruff: noqa: F821 - appended to solution.py

_product_of_any_size = matmul


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    require(0 not in a_MK.shape, "a: nothing to add")
    return _product_of_any_size(a_MK, b_KN, bias_N, activation=activation)
