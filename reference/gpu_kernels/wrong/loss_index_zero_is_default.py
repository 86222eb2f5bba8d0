# base = "solution"
# caught_by = "cross_entropy.combinations"
# cause = "wrong_value"
# also_fails = []

"""Takes an `ignore_index` of 0 for one that was not given."""

# ruff: noqa: F821 - appended to solution.py

_loss_with_index = cross_entropy


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    return _loss_with_index(x_MV, target_M, ignore_index=ignore_index or -100)
