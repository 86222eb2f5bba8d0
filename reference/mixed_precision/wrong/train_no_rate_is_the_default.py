# base = "solution"
# caught_by = "train.combinations"
# cause = "wrong_value"

"""Takes a rate of 0 for one that was left out."""

# ruff: noqa: F821 - appended to solution.py

_train_exactly = train


def train(model, batches, *, lr=1e-3, **keywords):
    return _train_exactly(model, batches, lr=lr or 1e-3, **keywords)
