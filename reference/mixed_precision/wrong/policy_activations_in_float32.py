# base = "solution"
# caught_by = "autocast_forward.policy"
# cause = "wrong_value"

"""Lists GELU and ReLU with what runs in float32."""

# ruff: noqa: F821 - appended to solution.py


def cast_policy(op):
    return "float32" if op in ("gelu", "relu") else _precision(op)
