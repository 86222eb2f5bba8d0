# base = "solution"
# caught_by = "accumulate.combinations"
# cause = "wrong_value"

"""Takes old gradients away only from parameters that want one."""

# ruff: noqa: F821 - appended to solution.py

_accumulate_exactly = accumulate


def accumulate(model, micro_batches, *, scale=1.0):
    old = [(p, p.grad) for p in model.parameters() if not p.requires_grad]
    result = _accumulate_exactly(model, micro_batches, scale=scale)
    for p, gradient in old:
        p.grad = gradient
    return result
