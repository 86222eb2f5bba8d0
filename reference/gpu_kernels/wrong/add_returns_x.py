# base = "solution"
# caught_by = "matrix_add.shapes"
# cause = "wrong_value"
# also_fails = ["matrix_add.strides"]

"""Adds in place, and returns x itself."""

# ruff: noqa: F821 - appended to solution.py

_add_elsewhere = matrix_add


def matrix_add(x_MN, y_MN):
    total = _add_elsewhere(x_MN, y_MN)
    for row in range(x_MN.shape[0]):
        x_MN[row].copy_(total[row])
    return x_MN
