# base = "solution"
# caught_by = "cross_entropy.vocabulary"
# cause = "wrong_value"
# also_fails = ["cross_entropy.ignored", "cross_entropy.large_logits", "cross_entropy.strides"]

"""Returns the loss as a vector of one number, not as a scalar."""

# ruff: noqa: F821 - appended to solution.py

_loss_as_a_scalar = cross_entropy


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    loss, dx = _loss_as_a_scalar(x_MV, target_M, ignore_index=ignore_index)
    return loss.reshape(1), dx
