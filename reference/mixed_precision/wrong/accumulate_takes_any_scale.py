# base = "solution"
# caught_by = "accumulate.bad_input"
# cause = "wrong_error"

"""Asks nothing of the scale."""

# ruff: noqa: F821 - appended to solution.py


def accumulate(model, micro_batches, *, scale=1.0):
    return _accumulate(model, micro_batches, abs(scale) or 1.0)
