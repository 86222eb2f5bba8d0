# base = "solution"
# caught_by = "accumulate.combinations"
# cause = "wrong_value"

"""Rounds the sum of bfloat16 gradients once more, through the dtype of the parameter."""

# ruff: noqa: F821 - appended to solution.py

_accumulate_exactly = accumulate


def accumulate(model, micro_batches, *, scale=1.0):
    loss, gradients = _accumulate_exactly(model, micro_batches, scale=scale)
    pairs = zip(model.parameters(), gradients, strict=True)
    return loss, [
        g.bfloat16().float() if g is not None and p.dtype is torch.bfloat16 else g for p, g in pairs
    ]
