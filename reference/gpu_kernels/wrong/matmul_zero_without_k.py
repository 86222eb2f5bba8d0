# base = "solution"
# caught_by = "matmul.combinations"
# cause = "wrong_value"
# also_fails = []

"""With K = 0 the result is 0, whatever the bias."""

# ruff: noqa: F821 - appended to solution.py

_product_with_epilogue = matmul


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    found = _product_with_epilogue(a_MK, b_KN, bias_N, activation=activation)
    return found if a_MK.shape[1] else found.zero_()
