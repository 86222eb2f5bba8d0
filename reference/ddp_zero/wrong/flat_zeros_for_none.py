# base = "solution"
# caught_by = "DDP.flat"
# cause = "wrong_value"
# also_fails = []

"""A parameter that no rank used gets a gradient of zeros."""

# ruff: noqa: F821 - appended to solution.py

_average = average_gradients


def average_gradients(module):
    _average(module)
    for param in module.parameters():
        if param.requires_grad and param.grad is None:
            param.grad = torch.zeros_like(param)
