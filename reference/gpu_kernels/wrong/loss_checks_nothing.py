# base = "solution"
# caught_by = "cross_entropy.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Answers something where arguments do not fit."""

# ruff: noqa: F821 - appended to solution.py

_cross_entropy_strictly = cross_entropy


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    try:
        return _cross_entropy_strictly(x_MV, target_M, ignore_index=ignore_index)
    except ValueError:
        return torch.zeros(()), x_MV.clone()
