# base = "solution"
# caught_by = "matrix_add.strides"
# cause = "wrong_value"
# also_fails = []

"""Takes every view for a dense matrix."""

# ruff: noqa: F821 - appended to solution.py


def _as_if_contiguous(x):
    steps = [1]
    for size in reversed(x.shape[1:]):
        steps.insert(0, steps[0] * size)
    return x.as_strided(x.shape, steps)


_add_with_strides = matrix_add


def matrix_add(x_MN, y_MN):
    check_like("y", y_MN, x_MN)
    check_tensor("x", x_MN, rank=2, dtypes=FLOATS)
    return _add_with_strides(_as_if_contiguous(x_MN), _as_if_contiguous(y_MN))
