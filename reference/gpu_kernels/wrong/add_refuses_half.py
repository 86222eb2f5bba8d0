# base = "solution"
# caught_by = "matrix_add.shapes"
# cause = "crash"
# also_fails = []

"""Takes float32 alone."""

# ruff: noqa: F821 - appended to solution.py

_add_floats = matrix_add


def matrix_add(x_MN, y_MN):
    check_tensor("x", x_MN, rank=2, dtypes=(torch.float32,))
    return _add_floats(x_MN, y_MN)
