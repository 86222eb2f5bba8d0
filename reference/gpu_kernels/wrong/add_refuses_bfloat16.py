# base = "solution"
# caught_by = "matrix_add.combinations"
# cause = "crash"
# also_fails = []

"""Takes float16 and float32, and forgets bfloat16."""

# ruff: noqa: F821 - appended to solution.py

_add_floats = matrix_add


def matrix_add(x_MN, y_MN):
    check_tensor("x", x_MN, rank=2, dtypes=(torch.float16, torch.float32))
    return _add_floats(x_MN, y_MN)
