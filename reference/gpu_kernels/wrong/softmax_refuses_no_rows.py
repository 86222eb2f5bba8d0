# base = "solution"
# caught_by = "softmax.combinations"
# cause = "crash"
# also_fails = []

"""Takes a matrix without rows for a mistake."""

# ruff: noqa: F821 - appended to solution.py

_softmax_of_rows = softmax


def softmax(x_MN):
    require(0 not in x_MN.shape, "x: no rows")
    return _softmax_of_rows(x_MN)
