# base = "solution"
# caught_by = "cross_entropy.memory"
# cause = "too_much_memory"
# also_fails = []

"""Keeps the probabilities in a tensor of their own beside the gradient."""

# ruff: noqa: F821 - appended to solution.py

_loss_in_one_tensor = cross_entropy


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    loss, probabilities = _loss_in_one_tensor(x_MV, target_M, ignore_index=ignore_index)
    return loss, probabilities.clone()
