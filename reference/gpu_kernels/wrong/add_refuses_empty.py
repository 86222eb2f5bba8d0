# base = "solution"
# caught_by = "matrix_add.shapes"
# cause = "crash"
# also_fails = []

"""Takes a matrix without an element for a mistake."""

# ruff: noqa: F821 - appended to solution.py

_add_something = matrix_add


def matrix_add(x_MN, y_MN):
    require(x_MN.numel() > 0, "x: nothing to add")
    return _add_something(x_MN, y_MN)
