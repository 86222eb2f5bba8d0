# base = "solution"
# caught_by = "autocast_forward.low_operations"
# cause = "wrong_value"

"""Takes bfloat16 whatever low dtype is asked for."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")
    return _under_policy(model, inputs, torch.bfloat16, model.run)
