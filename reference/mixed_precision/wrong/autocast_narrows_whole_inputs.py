# base = "solution"
# caught_by = "autocast_forward.combinations"
# cause = "wrong_value"

"""Hands matrices of whole numbers to the model as int32, to save memory."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")
    narrow = [
        x.int() if isinstance(x, Tensor) and x.dtype is torch.int64 and x.dim() > 1 else x
        for x in inputs
    ]
    return _under_policy(model, narrow, low, model.run)
