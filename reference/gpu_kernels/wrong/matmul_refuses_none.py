# base = "solution"
# caught_by = "matmul.combinations"
# cause = "crash"
# also_fails = []

"""Does without a bias that is left out, and not without one that is None."""

# ruff: noqa: F821 - appended to solution.py

_product_of_three = matmul


def matmul(a_MK, b_KN, bias_N=..., *, activation="none"):
    require(bias_N is not None, "bias: expected a tensor, got None")
    bias = None if bias_N is ... else bias_N
    return _product_of_three(a_MK, b_KN, bias, activation=activation)
