# base = "solution"
# caught_by = "matrix_add.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Answers something where arguments do not fit."""

# ruff: noqa: F821 - appended to solution.py

_matrix_add_strictly = matrix_add


def matrix_add(x_MN, y_MN):
    try:
        return _matrix_add_strictly(x_MN, y_MN)
    except ValueError:
        return x_MN.clone()
