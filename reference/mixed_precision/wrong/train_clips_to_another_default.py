# base = "solution"
# caught_by = "train.parameters"
# cause = "wrong_value"

"""Clips to 5 where no norm is given."""

# ruff: noqa: F821 - appended to solution.py

_train_as_told = train


def train(model, batches, *, max_norm=5.0, **numbers):
    return _train_as_told(model, batches, max_norm=max_norm, **numbers)
