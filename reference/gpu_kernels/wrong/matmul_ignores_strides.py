# base = "solution"
# caught_by = "matmul.strides"
# cause = "wrong_value"
# also_fails = []

"""Takes transposed and sliced matrices for dense ones."""

# ruff: noqa: F821 - appended to solution.py


def _as_if_contiguous(x):
    steps = [1]
    for size in reversed(x.shape[1:]):
        steps.insert(0, steps[0] * size)
    return x.as_strided(x.shape, steps)


_matmul_with_strides = matmul


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    a, b = (_as_if_contiguous(x) if x.dim() == 2 else x for x in (a_MK, b_KN))
    return _matmul_with_strides(a, b, bias_N, activation=activation)
