# base = "solution"
# caught_by = "softmax.strides"
# cause = "wrong_value"
# also_fails = []

"""Right for dense rows; takes every view for them."""

# ruff: noqa: F821 - appended to solution.py


def _as_if_contiguous(x):
    steps = [1]
    for size in reversed(x.shape[1:]):
        steps.insert(0, steps[0] * size)
    return x.as_strided(x.shape, steps)


_softmax_with_strides = softmax


def softmax(x_MN):
    return _softmax_with_strides(_as_if_contiguous(x_MN) if x_MN.dim() == 2 else x_MN)
