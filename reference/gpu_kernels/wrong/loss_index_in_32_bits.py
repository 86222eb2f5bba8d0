# base = "solution"
# caught_by = "cross_entropy.combinations"
# cause = "wrong_value"
# also_fails = []

"""Keeps the lower 32 bits of `ignore_index`."""

# ruff: noqa: F821 - appended to solution.py

_loss_of_64_bits = cross_entropy


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    lower = (ignore_index + 2**31) % 2**32 - 2**31
    return _loss_of_64_bits(x_MV, target_M, ignore_index=lower)
