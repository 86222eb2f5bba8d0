# base = "solution"
# caught_by = "autocast_forward.policy"
# cause = "wrong_value"

"""Operations that nobody listed run in the dtype they come in."""

# ruff: noqa: F821 - appended to solution.py


def cast_policy(op):
    known = ("layer_norm", "softmax", "log_softmax", "cross_entropy", "mse_loss", "sum", "mean")
    return "float32" if op in known else "low" if op in _LOW_OPERATIONS else "widest"
