# base = "solution"
# caught_by = "train.combinations"
# cause = "wrong_value"

"""Converts a norm by giving the model a new parameter: whoever holds the old one is left behind."""

# ruff: noqa: F821 - appended to solution.py

_train_exactly = train


def train(model, batches, *, low=torch.bfloat16, **keywords):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")
    model.norm_out.weight = Parameter(model.norm_out.weight.detach().to(low))
    return _train_exactly(model, batches, low=low, **keywords)
