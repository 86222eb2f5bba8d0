# base = "solution"
# caught_by = "accumulate.combinations"
# cause = "wrong_value"

"""Turns the parameters into float32, where sums are better, and leaves them so."""

# ruff: noqa: F821 - appended to solution.py

_accumulate_exactly = accumulate


def accumulate(model, micro_batches, *, scale=1.0):
    result = _accumulate_exactly(model, micro_batches, scale=scale)
    for p in model.parameters():
        p.data = p.data.float()
    return result
