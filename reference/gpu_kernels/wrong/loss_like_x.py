# base = "solution"
# caught_by = "cross_entropy.vocabulary"
# cause = "wrong_value"
# also_fails = []

"""Returns the loss in the dtype of x."""

# ruff: noqa: F821 - appended to solution.py

_loss_in_single = cross_entropy


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    loss, dx = _loss_in_single(x_MV, target_M, ignore_index=ignore_index)
    return loss.to(x_MV.dtype), dx
