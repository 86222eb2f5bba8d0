# base = "solution"
# caught_by = "cross_entropy.vocabulary"
# cause = "forbidden"
# also_fails = ["cross_entropy.ignored", "cross_entropy.large_logits", "cross_entropy.strides"]

"""Counts the rows that are kept in Python, from numbers of a tensor."""

# ruff: noqa: F821 - appended to solution.py

_loss_of_rows = cross_entropy


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    loss, dx = _loss_of_rows(x_MV, target_M, ignore_index=ignore_index)
    if all(label == ignore_index for label in target_M.tolist()):
        return loss, dx.zero_()
    return loss, dx
