# base = "solution"
# caught_by = "autocast_forward.bad_input"
# cause = "wrong_value"

"""Runs the model, and then finds that the dtype is none of the two."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    result = _under_policy(model, inputs, low, model.run)
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")
    return result
