# base = "solution"
# caught_by = "autocast_forward.policy"
# cause = "wrong_value"

"""Lists products, and forgets convolutions."""

# ruff: noqa: F821 - appended to solution.py


def cast_policy(op):
    return "float32" if op.startswith("conv") else _precision(op)
