# base = "solution"
# caught_by = "train.bad_input"
# cause = "wrong_value"

"""Converts the model, and then finds that the dtype is none of the two."""

# ruff: noqa: F821 - appended to solution.py

_train_exactly = train


def train(model, batches, *, low=torch.bfloat16, lr=1e-3, weight_decay=0.01, max_norm=1.0,
          init_scale=65536.0):  # fmt: skip
    if low not in LOW:
        model.to(torch.bfloat16)
    keywords = {"lr": lr, "weight_decay": weight_decay, "max_norm": max_norm}
    return _train_exactly(model, batches, low=low, init_scale=init_scale, **keywords)
