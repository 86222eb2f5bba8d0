# base = "solution"
# caught_by = "matrix_add.shapes"
# cause = "wrong_value"
# also_fails = ["matrix_add.strides"]

"""Adds float32 matrices in float16."""

# ruff: noqa: F821 - appended to solution.py

_add_exactly = matrix_add


def matrix_add(x_MN, y_MN):
    if x_MN.dtype != torch.float32 or y_MN.dtype != torch.float32:
        return _add_exactly(x_MN, y_MN)
    return _add_exactly(x_MN.half(), y_MN.half()).float()
