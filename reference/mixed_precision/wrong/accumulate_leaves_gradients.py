# base = "solution"
# caught_by = "accumulate.left_behind"
# cause = "wrong_value"

"""Leaves its gradients behind in the parameters."""

# ruff: noqa: F821 - appended to solution.py

_accumulate_exactly = accumulate


def accumulate(model, micro_batches, *, scale=1.0):
    loss, gradients = _accumulate_exactly(model, micro_batches, scale=scale)
    for p, gradient in zip(model.parameters(), gradients, strict=True):
        p.grad = None if gradient is None else gradient.to(p.dtype)
    return loss, gradients
