# base = "solution"
# caught_by = "cross_entropy.vocabulary"
# cause = "wrong_value"
# also_fails = []

"""Returns the gradient in float32 whatever came."""

# ruff: noqa: F821 - appended to solution.py

_gradient_like_x = cross_entropy


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    loss, dx = _gradient_like_x(x_MV, target_M, ignore_index=ignore_index)
    return loss, dx.float()
