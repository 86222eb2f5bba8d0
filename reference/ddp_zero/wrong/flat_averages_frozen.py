# base = "solution"
# caught_by = "DDP.flat"
# cause = "wrong_value"
# also_fails = []

"""Frozen parameters get a gradient of zeros."""

# ruff: noqa: F821 - appended to solution.py

_average = average_gradients


def average_gradients(module):
    _average(module)
    for param in module.parameters():
        if not param.requires_grad:
            param.grad = torch.zeros_like(param)
