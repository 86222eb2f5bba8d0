# base = "solution"
# caught_by = "accumulate.scaled"
# cause = "wrong_value"

"""Scales by 65536 where no scale is given: large float16 gradients overflow."""

# ruff: noqa: F821 - appended to solution.py

_accumulate_as_told = accumulate


def accumulate(model, micro_batches, *, scale=65536.0):
    return _accumulate_as_told(model, micro_batches, scale=scale)
