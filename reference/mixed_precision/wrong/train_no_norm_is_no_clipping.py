# base = "solution"
# caught_by = "train.combinations"
# cause = "wrong_value"

"""Takes a max_norm of 0 for no clipping."""

# ruff: noqa: F821 - appended to solution.py

_train_exactly = train


def train(model, batches, *, max_norm=1.0, **keywords):
    return _train_exactly(model, batches, max_norm=max_norm or math.inf, **keywords)
