# base = "solution"
# caught_by = "accumulate.left_behind"
# cause = "wrong_value"

"""What an earlier step left in `grad` is part of the sum."""

# ruff: noqa: F821 - appended to solution.py

_accumulate_exactly = accumulate


def accumulate(model, micro_batches, *, scale=1.0):
    _require_scale(scale)
    _kept_counts(micro_batches)
    before = [p.grad for p in model.parameters()]
    loss, gradients = _accumulate_exactly(model, micro_batches, scale=scale)
    for old, g in zip(before, gradients, strict=True):
        if old is not None and g is not None:
            g.add_(old.float())
    return loss, gradients
