# base = "solution"
# caught_by = "autocast_forward.combinations"
# cause = "wrong_value"

"""Runs a small model once to see which operations it has, and once more for the result."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")
    if not isinstance(model, torch.nn.Module):
        _under_policy(model, inputs, low, model.run)
    return _under_policy(model, inputs, low, model.run)
