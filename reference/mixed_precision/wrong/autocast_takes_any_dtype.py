# base = "solution"
# caught_by = "autocast_forward.bad_input"
# cause = "wrong_error"

"""Takes float32 for a low dtype."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    return _under_policy(model, inputs, low, model.run)
