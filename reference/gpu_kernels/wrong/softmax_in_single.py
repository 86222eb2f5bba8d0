# base = "solution"
# caught_by = "softmax.rows"
# cause = "wrong_value"
# also_fails = []

"""Returns float32 whatever came."""

# ruff: noqa: F821 - appended to solution.py

_softmax_like_x = softmax


def softmax(x_MN):
    return _softmax_like_x(x_MN).float()
