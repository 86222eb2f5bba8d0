# base = "solution"
# caught_by = "matmul.product"
# cause = "wrong_value"
# also_fails = ["matmul.accumulation"]

"""Returns float32 whatever came."""

# ruff: noqa: F821 - appended to solution.py

_product_like_a = matmul


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    return _product_like_a(a_MK, b_KN, bias_N, activation=activation).float()
