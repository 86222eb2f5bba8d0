# base = "solution"
# caught_by = "matrix_add.shapes"
# cause = "forbidden"
# also_fails = ["matrix_add.strides"]

"""torch's own addition, by the operator."""

# ruff: noqa: F821 - appended to solution.py


def matrix_add(x_MN, y_MN):
    check_tensor("x", x_MN, rank=2, dtypes=FLOATS)
    check_like("y", y_MN, x_MN)
    return x_MN + y_MN
