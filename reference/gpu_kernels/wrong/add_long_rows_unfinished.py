# base = "solution"
# caught_by = "matrix_add.combinations"
# cause = "wrong_value"
# also_fails = []

"""Adds views in one strip of 512 columns: what lies behind it is 0."""

# ruff: noqa: F821 - appended to solution.py

_add_all = matrix_add


def matrix_add(x_MN, y_MN):
    dense = x_MN.is_contiguous() and y_MN.is_contiguous()
    if dense or x_MN.dim() != 2 or x_MN.shape[1] <= 512:
        return _add_all(x_MN, y_MN)
    out = torch.zeros(x_MN.shape, dtype=x_MN.dtype)
    out[:, :512] = _add_all(x_MN[:, :512], y_MN[:, :512])
    return out
