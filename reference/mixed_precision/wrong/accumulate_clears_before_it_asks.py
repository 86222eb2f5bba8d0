# base = "solution"
# caught_by = "accumulate.bad_input"
# cause = "wrong_value"

"""Takes gradients away, and then finds that the pieces make no sense."""

# ruff: noqa: F821 - appended to solution.py

_accumulate_exactly = accumulate


def accumulate(model, micro_batches, *, scale=1.0):
    for p in model.parameters():
        p.grad = None
    return _accumulate_exactly(model, micro_batches, scale=scale)
